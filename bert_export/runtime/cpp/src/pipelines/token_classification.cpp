#include "bert_export/errors.hpp"
#include "bert_export/pipelines.hpp"
#include "decoding/entities.hpp"
#include "decoding/lower.hpp"
#include "pipelines/opened_bundle.hpp"

namespace bert_export {

using decoding::Aggregation;
using decoding::TaggedText;
using pipelines::OpenedBundle;
using pipelines::Parameters;
using pipelines::RowOutputs;

namespace {

const std::vector<std::string>& aggregation_names() {
  static const std::vector<std::string> names = {"none", "simple", "first", "average", "max"};
  return names;
}

Aggregation read_aggregation(const std::string& name) {
  pipelines::check_word("aggregation_strategy", name, aggregation_names());
  if (name == "simple") return Aggregation::simple;
  if (name == "first") return Aggregation::first;
  if (name == "average") return Aggregation::average;
  return name == "max" ? Aggregation::max : Aggregation::none;
}

TaggedText tagged_text(const Text& text, const std::string& delimiter) {
  if (text.kind == Text::Kind::single) return {std::string(text.parts[0]), {}, {}, false};
  if (text.kind == Text::Kind::words) {
    return TaggedText::from_words({text.parts.begin(), text.parts.end()}, delimiter);
  }
  throw InputError("text is of the wrong type", {"a text or its words", "a pair of texts"});
}

}  // namespace

struct TokenClassification::Parts {
  Parts(const std::string& path, const OpenOptions& options)
      : bundle(path, "token-classification", options),
        table(decoding::TagTable::from_labels(bundle.manifest().labels)) {
    bundle.check_labels();
    const Parameters own(bundle.manifest());
    aggregation_strategy = own.string("aggregation_strategy", "none");
    ignore_labels = own.strings("ignore_labels", {"O"});
    stride = own.whole("stride", std::nullopt, 0);
    delimiter = own.string("delimiter", " ");
    truncation = own.truncation("truncation", Truncation::longest_first);
  }

  std::optional<std::int64_t> read_stride(std::optional<std::int64_t> asked,
                                          Aggregation aggregation) const {
    const std::optional<std::int64_t> own = asked ? asked : stride;
    if (!own || *own == none) return std::nullopt;
    const std::int64_t room = bundle.tokenizer().max_length() - 2;
    if (*own < 0 || *own >= room) {
      throw InputError("stride is wrong", {"a whole number from 0 to " + std::to_string(room - 1),
                                           std::to_string(*own)});
    }
    if (aggregation == Aggregation::none) {
      throw InputError("stride does not fit aggregation_strategy 'none'",
                       {"simple or first or average or max", "'none'"});
    }
    return own;
  }

  OpenedBundle bundle;
  decoding::TagTable table;
  std::string aggregation_strategy;
  std::vector<std::string> ignore_labels;
  std::optional<std::int64_t> stride;
  std::string delimiter;
  Truncation truncation;
};

TokenClassification::TokenClassification(std::unique_ptr<const Parts> parts)
    : parts_(std::move(parts)) {}
TokenClassification::TokenClassification(TokenClassification&&) noexcept = default;
TokenClassification& TokenClassification::operator=(TokenClassification&&) noexcept = default;
TokenClassification::~TokenClassification() = default;

TokenClassification TokenClassification::open(const std::string& path,
                                              const OpenOptions& options) {
  return TokenClassification(std::make_unique<const Parts>(path, options));
}

const Tokenizer& TokenClassification::tokenizer() const { return parts_->bundle.tokenizer(); }

const std::vector<std::string>& TokenClassification::labels() const {
  return parts_->bundle.manifest().labels;
}

std::vector<Entity> TokenClassification::operator()(
    const Text& text, const TokenClassificationOptions& options) const {
  return (*this)(std::vector<Text>{text}, options).front();
}

std::vector<std::vector<Entity>> TokenClassification::operator()(
    const std::vector<Text>& texts, const TokenClassificationOptions& options) const {
  decoding::TaggingOptions tagging;
  tagging.aggregation = read_aggregation(
      decoding::lower(options.aggregation_strategy.value_or(parts_->aggregation_strategy)));
  tagging.ignore_labels = options.ignore_labels.value_or(parts_->ignore_labels);
  tagging.prefix = tokenizer().continuing_prefix();
  tagging.unk_id = tokenizer().unk_id();
  const std::optional<std::int64_t> stride =
      parts_->read_stride(options.stride, tagging.aggregation);
  EncodeOptions how;
  how.truncation = parts_->truncation;
  how.stride = stride.value_or(0);
  how.windows = stride.has_value();
  // The rows of all texts, and how many each has.
  std::vector<TaggedText> tagged;
  std::vector<Encoded> rows;
  std::vector<std::size_t> counts;
  for (const Text& text : texts) {
    tagged.push_back(tagged_text(text, options.delimiter.value_or(parts_->delimiter)));
    std::vector<Encoded> windows = tokenizer().encode(text, how);
    counts.push_back(windows.size());
    for (Encoded& window : windows) rows.push_back(std::move(window));
  }
  const std::vector<RowOutputs> outputs = parts_->bundle.run_rows(rows);
  const auto join = [this](const std::vector<std::string>& tokens) {
    return tokenizer().join(tokens);
  };
  std::vector<std::vector<Entity>> answers;
  std::size_t row = 0;
  for (std::size_t index = 0; index < texts.size(); ++index) {
    std::vector<decoding::TaggedWindow> windows;
    for (const std::size_t end = row + counts[index]; row < end; ++row) {
      const std::vector<float>& logits = outputs[row].at("logits");
      windows.push_back({&rows[row], {logits.data(), rows[row].size(), labels().size()}});
    }
    answers.push_back(
        decoding::decode_entities(tagged[index], windows, parts_->table, tagging, join));
  }
  return answers;
}

}  // namespace bert_export
