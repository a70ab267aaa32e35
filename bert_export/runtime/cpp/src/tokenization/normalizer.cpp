#include "tokenization/normalizer.hpp"

#include <algorithm>
#include <string>

#include "text/unicode.hpp"
#include "tokenization/unsupported.hpp"

namespace bert_export::tokenization {
namespace {

using text::has;

// What is true of any of the characters.
struct Summary {
  std::uint16_t flags = 0;
  bool combining = false;
};

Summary summarize(Slice characters) {
  Summary summary;
  for (const Character& character : characters) {
    const text::Properties& own = text::properties(character.code);
    summary.flags |= own.flags;
    summary.combining |= own.combining_class != 0;
  }
  return summary;
}

void drop(Characters& characters, std::uint16_t flags) {
  characters.erase(std::remove_if(characters.begin(), characters.end(),
                                  [=](const Character& one) { return has(one.code, flags); }),
                   characters.end());
}

void clean(Characters& characters) {
  drop(characters, text::control);
  for (Character& character : characters) {
    if (has(character.code, text::blank)) character.code = U' ';
  }
}

void space_chinese(Characters& characters) {
  Characters spaced;
  spaced.reserve(characters.size() * 3);
  for (const Character& character : characters) {
    const bool chinese = has(character.code, text::chinese);
    if (chinese) spaced.push_back({U' ', character.span});
    spaced.push_back({character.code, character.span, chinese});
    if (chinese) spaced.push_back({U' ', character.span, true});
  }
  characters = std::move(spaced);
}

// Replaces each character by the code points that `sequence_of` gives for it.
template <typename SequenceOf>
void lengthen(Characters& characters, std::uint16_t flag, SequenceOf sequence_of) {
  Characters longer;
  longer.reserve(characters.size() + characters.size() / 4);
  for (const Character& character : characters) {
    if (!has(character.code, flag)) {
      longer.push_back({character.code, character.span});
      continue;
    }
    const text::Sequence sequence = sequence_of(character.code);
    for (std::uint8_t index = 0; index < sequence.count; ++index) {
      longer.push_back({sequence.codes[index], character.span, index > 0});
    }
  }
  characters = std::move(longer);
}

std::uint8_t combining_class(const Character& character) {
  return text::properties(character.code).combining_class;
}

// Brings a run of combining marks into canonical order. Spans stay where they are, as `tokenizers`
// has it: the n-th mark that the text had keeps its place in the row of spans, and a mark that was
// inserted has the span before it.
void reorder(Characters& characters, std::size_t first, std::size_t last) {
  const auto begin = characters.begin() + static_cast<std::ptrdiff_t>(first);
  const auto end = characters.begin() + static_cast<std::ptrdiff_t>(last);
  const auto in_order = [](const Character& left, const Character& right) {
    return combining_class(left) < combining_class(right);
  };
  if (std::is_sorted(begin, end, in_order)) return;
  std::vector<Span> spans;
  for (auto mark = begin; mark != end; ++mark) {
    if (!mark->inserted) spans.push_back(mark->span);
  }
  std::stable_sort(begin, end, in_order);
  Span before = first > 0 ? characters[first - 1].span : Span{};
  auto next = spans.begin();
  for (auto mark = begin; mark != end; ++mark) {
    if (!mark->inserted) before = *next++;
    mark->span = before;
  }
}

void decompose(Characters& characters) {
  lengthen(characters, text::decomposed, text::decompose);
  std::size_t first = 0;  // of the run of marks that is open
  for (std::size_t index = 0; index <= characters.size(); ++index) {
    if (index < characters.size() && combining_class(characters[index]) != 0) continue;
    if (index - first > 1) reorder(characters, first, index);
    first = index + 1;
  }
}

}  // namespace

Normalizer Normalizer::from_json(const text::Json& json) {
  Normalizer normalizer;
  if (!json.is_null()) add_steps(json, normalizer.steps_);
  return normalizer;
}

void Normalizer::add_steps(const text::Json& json, std::vector<Step>& steps) {
  const std::string& type = json.at("type").string("a normalizer's type");
  if (type == "BertNormalizer") {
    add_bert_steps(json, steps);
  } else if (type == "Lowercase") {
    steps.push_back(Step::lower_case);
  } else if (type == "NFD") {
    steps.push_back(Step::decompose);
  } else if (type == "StripAccents") {
    steps.push_back(Step::strip_marks);
  } else if (type == "Sequence") {
    for (const text::Json& part : json.at("normalizers").array("normalizers")) {
      add_steps(part, steps);
    }
  } else {
    throw Unsupported("normalizer",
                      "BertNormalizer, Lowercase, NFD, StripAccents or a Sequence of them", type);
  }
}

void Normalizer::add_bert_steps(const text::Json& json, std::vector<Step>& steps) {
  const bool lowercase = json.at("lowercase").boolean("lowercase");
  const text::Json* const strip = json.find("strip_accents");
  const bool unsaid = strip == nullptr || strip->is_null();
  if (json.at("clean_text").boolean("clean_text")) steps.push_back(Step::clean);
  if (json.at("handle_chinese_chars").boolean("handle_chinese_chars")) {
    steps.push_back(Step::space_chinese);
  }
  if (unsaid ? lowercase : strip->boolean("strip_accents")) {
    steps.push_back(Step::decompose);
    steps.push_back(Step::strip_nonspacing_marks);
  }
  if (lowercase) steps.push_back(Step::lower_case);
}

Characters Normalizer::normalize(Slice raw) const {
  Characters characters(raw.begin(), raw.end());
  // Most steps have nothing to do in most texts, and a look at all characters tells.
  Summary summary = summarize(slice_of(characters));
  for (const Step step : steps_) {
    switch (step) {
      case Step::clean:
        if (summary.flags & (text::control | text::blank)) clean(characters);
        break;
      case Step::space_chinese:
        if (summary.flags & text::chinese) space_chinese(characters);
        break;
      case Step::decompose:
        if ((summary.flags & text::decomposed) || summary.combining) {
          decompose(characters);
          summary = summarize(slice_of(characters));
        }
        break;
      case Step::strip_nonspacing_marks:
        if (summary.flags & text::nonspacing_mark) drop(characters, text::nonspacing_mark);
        break;
      case Step::strip_marks:
        if (summary.flags & text::mark) drop(characters, text::mark);
        break;
      case Step::lower_case:
        if (summary.flags & text::lowercased) {
          lengthen(characters, text::lowercased, text::lower_case);
          summary = summarize(slice_of(characters));
        }
        break;
    }
  }
  return characters;
}

}  // namespace bert_export::tokenization
