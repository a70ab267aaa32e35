#include "bert_export/errors.hpp"
#include "bert_export/pipelines.hpp"
#include "decoding/entities.hpp"
#include "pipelines/opened_bundle.hpp"

namespace bert_export {

using decoding::Aggregation;
using decoding::TaggedText;
using pipelines::OpenedBundle;
using pipelines::Parameters;
using pipelines::Row;
using pipelines::RowOutputs;

namespace {

Aggregation read_aggregation(const std::string& asked) {
  const std::string name = pipelines::check_word(
      "aggregation_strategy", asked, {"none", "simple", "first", "average", "max"},
      "one of none, simple, first, average, max");
  if (name == "simple") return Aggregation::simple;
  if (name == "first") return Aggregation::first;
  if (name == "average") return Aggregation::average;
  return name == "max" ? Aggregation::max : Aggregation::none;
}

// How a call groups and cuts.
struct Settings {
  decoding::TaggingOptions tagging;
  std::string delimiter;
  EncodeOptions encoding;
};

// A text, and the windows over it.
struct Item {
  TaggedText text;
  std::vector<Row> windows;
};

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

  Settings settings(const TokenClassificationOptions& options) const {
    Settings settings;
    settings.tagging.aggregation =
        read_aggregation(options.aggregation_strategy.value_or(aggregation_strategy));
    settings.tagging.ignore_labels = options.ignore_labels.value_or(ignore_labels);
    settings.tagging.prefix = bundle.tokenizer().continuing_prefix();
    settings.tagging.unk_id = bundle.tokenizer().unk_id();
    settings.delimiter = options.delimiter.value_or(delimiter);
    const auto shared = read_stride(options.stride, settings.tagging.aggregation);
    settings.encoding.truncation = truncation;
    settings.encoding.stride = shared.value_or(0);
    settings.encoding.windows = shared.has_value();
    return settings;
  }

  Item encode(const Text& text, const Settings& settings) const {
    Item item{tagged_text(text, settings.delimiter), {}};
    for (Encoded& window : bundle.tokenizer().encode(text, settings.encoding)) {
      item.windows.push_back({std::move(window)});
    }
    return item;
  }

  std::vector<std::vector<Entity>> decode(const std::vector<Item>& items,
                                          const Settings& settings) const {
    std::vector<Row> rows;
    for (const Item& item : items) {
      rows.insert(rows.end(), item.windows.begin(), item.windows.end());
    }
    const std::vector<RowOutputs> outputs = bundle.run_rows(rows);
    const auto join = [this](const std::vector<std::string>& tokens) {
      return bundle.tokenizer().join(tokens);
    };
    std::vector<std::vector<Entity>> answers;
    auto own = outputs.begin();
    for (const Item& item : items) {
      std::vector<decoding::TaggedWindow> windows;
      for (const Row& window : item.windows) {
        const std::vector<float>& logits = (own++)->at("logits");
        windows.push_back({&window.encoded, {logits.data(), window.encoded.size(), table.names.size()}});
      }
      answers.push_back(
          decoding::decode_entities(item.text, windows, table, settings.tagging, join));
    }
    return answers;
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
  const Settings settings = parts_->settings(options);
  return parts_->decode({parts_->encode(text, settings)}, settings).front();
}

std::vector<std::vector<Entity>> TokenClassification::operator()(
    const std::vector<Text>& texts, const TokenClassificationOptions& options) const {
  const Settings settings = parts_->settings(options);
  std::vector<Item> items;
  for (std::size_t index = 0; index < texts.size(); ++index) {
    items.push_back(
        pipelines::naming_item(index, [&] { return parts_->encode(texts[index], settings); }));
  }
  return parts_->decode(items, settings);
}

}  // namespace bert_export
