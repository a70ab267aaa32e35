#include "tokenization/post_processor.hpp"

#include <algorithm>

#include "tokenization/unsupported.hpp"

namespace bert_export::tokenization {
namespace {

// Which window each piece of a template takes; special tokens have one.
using Choice = std::vector<std::size_t>;

void append_special(Encoded& row, std::int64_t id, const std::string& token, std::int64_t type_id) {
  row.ids.push_back(id);
  row.type_ids.push_back(type_id);
  row.tokens.push_back(token);
  row.offsets.push_back({});
  row.byte_offsets.push_back({});
  row.word_ids.push_back(none);
  row.sequence_ids.push_back(none);
  row.special_tokens_mask.push_back(1);
}

void append_text(Encoded& row, const Token& token, std::int64_t type_id, int text) {
  row.ids.push_back(token.id);
  row.type_ids.push_back(type_id);
  row.tokens.emplace_back(token.text);
  row.offsets.push_back(token.offsets);
  row.byte_offsets.push_back(token.byte_offsets);
  row.word_ids.push_back(token.word);
  row.sequence_ids.push_back(text);
  row.special_tokens_mask.push_back(0);
}

void reserve(Encoded& row, std::size_t size) {
  row.ids.reserve(size);
  row.type_ids.reserve(size);
  row.tokens.reserve(size);
  row.offsets.reserve(size);
  row.byte_offsets.reserve(size);
  row.word_ids.reserve(size);
  row.sequence_ids.reserve(size);
  row.special_tokens_mask.reserve(size);
}

// The rows that a template makes: windows of its texts are combined as `tokenizers` merges them,
// which is first every further window so far with all of the next text, then the first with the
// further ones.
std::vector<Choice> combine(const std::vector<std::size_t>& windows) {
  std::vector<Choice> rows = {{}};
  for (const std::size_t count : windows) {
    std::vector<Choice> longer;
    const auto extend = [&](const Choice& row, std::size_t window) {
      longer.push_back(row);
      longer.back().push_back(window);
    };
    extend(rows.front(), 0);
    for (std::size_t row = 1; row < rows.size(); ++row) {
      for (std::size_t window = 0; window < count; ++window) extend(rows[row], window);
    }
    for (std::size_t window = 1; window < count; ++window) extend(rows.front(), window);
    rows = std::move(longer);
  }
  return rows;
}

}  // namespace

PostProcessor PostProcessor::from_json(const text::Json& json) {
  if (json.is_null()) throw Unsupported("post-processor", "TemplateProcessing", "none");
  const std::string& type = json.at("type").string("the post-processor's type");
  if (type == "BertProcessing") return bert(json);
  if (type != "TemplateProcessing") {
    throw Unsupported("post-processor", "TemplateProcessing or BertProcessing", type);
  }
  PostProcessor processor;
  const text::Json& special_tokens = json.at("special_tokens");
  processor.single_ = read_template(json.at("single"), special_tokens, "single");
  processor.pair_ = read_template(json.at("pair"), special_tokens, "pair");
  const auto has = [](const Template& pieces, int text) {
    return std::any_of(pieces.begin(), pieces.end(),
                       [=](const Piece& piece) { return piece.text == text; });
  };
  if (has(processor.single_, 1)) throw text::JsonError("the template single has a second text");
  if (!has(processor.pair_, 0) || !has(processor.pair_, 1)) {
    throw text::JsonError("the template pair lacks a text");
  }
  return processor;
}

PostProcessor PostProcessor::bert(const text::Json& json) {
  const auto special = [&](const char* name, std::int64_t type_id) {
    const text::JsonArray& both = json.at(name).array(name);
    if (both.size() != 2) throw text::JsonError(std::string(name) + " is no token and id");
    return Piece{Piece::special, type_id, {both[1].integer(name)}, {both[0].string(name)}};
  };
  PostProcessor processor;
  processor.single_ = {special("cls", 0), {0, 0, {}, {}}, special("sep", 0)};
  processor.pair_ = processor.single_;
  processor.pair_.push_back({1, 1, {}, {}});
  processor.pair_.push_back(special("sep", 1));
  return processor;
}

PostProcessor::Template PostProcessor::read_template(const text::Json& pieces,
                                                     const text::Json& special_tokens,
                                                     const char* name) {
  Template read;
  for (const text::Json& entry : pieces.array(name)) {
    Piece piece{};
    const text::Json* body = entry.find("Sequence");
    if (body != nullptr) {
      const std::string& id = body->at("id").string("a template's text");
      if (id != "A" && id != "B") throw text::JsonError("a template has the text " + id);
      piece.text = id == "A" ? 0 : 1;
    } else {
      body = &entry.at("SpecialToken");
      piece = read_special(body->at("id").string("a template's special token"), special_tokens);
    }
    piece.type_id = body->at("type_id").integer("a template's type_id");
    read.push_back(std::move(piece));
  }
  return read;
}

PostProcessor::Piece PostProcessor::read_special(const std::string& name,
                                                 const text::Json& special_tokens) {
  const text::Json& entry = special_tokens.at(name);
  Piece piece{Piece::special, 0, {}, {}};
  for (const text::Json& id : entry.at("ids").array("ids")) {
    piece.ids.push_back(id.integer("a special token's id"));
  }
  for (const text::Json& token : entry.at("tokens").array("tokens")) {
    piece.tokens.push_back(token.string("a special token"));
  }
  if (piece.ids.size() != piece.tokens.size()) {
    throw text::JsonError("the special token " + name + " has other numbers of ids and tokens");
  }
  return piece;
}

std::size_t PostProcessor::added(bool paired) const {
  std::size_t count = 0;
  for (const Piece& piece : paired ? pair_ : single_) count += piece.ids.size();
  return count;
}

std::vector<Encoded> PostProcessor::process(const std::vector<Cut>& texts, bool add_special_tokens,
                                            bool further_windows) const {
  const Template& pieces = texts.size() > 1 ? pair_ : single_;
  std::vector<std::size_t> windows;
  for (const Piece& piece : pieces) {
    const bool cut = piece.text != Piece::special && further_windows;
    windows.push_back(cut ? texts[static_cast<std::size_t>(piece.text)].windows.size() : 1);
  }
  std::vector<Encoded> rows;
  for (const Choice& choice : combine(windows)) {
    Encoded& row = rows.emplace_back();
    std::size_t size = added(texts.size() > 1);
    for (const Cut& text : texts) size += text.windows.front().end - text.windows.front().begin;
    reserve(row, size);
    for (std::size_t index = 0; index < pieces.size(); ++index) {
      const Piece& piece = pieces[index];
      for (std::size_t token = 0; token < piece.ids.size() && add_special_tokens; ++token) {
        append_special(row, piece.ids[token], piece.tokens[token], piece.type_id);
      }
      if (piece.text == Piece::special) continue;
      const Cut& text = texts[static_cast<std::size_t>(piece.text)];
      const Range range = text.windows[choice[index]];
      // Only a first window has the template's type; the others keep that of their text.
      const std::int64_t type_id = choice[index] == 0 ? piece.type_id : piece.text;
      for (std::size_t token = range.begin; token < range.end; ++token) {
        append_text(row, text.text->tokens[token], type_id, piece.text);
      }
    }
  }
  return rows;
}

}  // namespace bert_export::tokenization
