#include "bert_export/token_classification.hpp"

#include "decoding/entities.hpp"
#include "pipelines/answering.hpp"

namespace bert_export {

using pipelines::OpenedBundle;
using pipelines::Parameters;
using pipelines::Row;
using pipelines::RowOutputs;

using decoding::Aggregation;
using decoding::TaggedText;

namespace {

Aggregation read_aggregation(const std::string& asked) {
  const std::string name = pipelines::check_word("aggregation_strategy", asked,
                                                 {"none", "simple", "first", "average", "max"},
                                                 "one of none, simple, first, average, max");
  if (name == "simple") return Aggregation::simple;
  if (name == "first") return Aggregation::first;
  if (name == "average") return Aggregation::average;
  return name == "max" ? Aggregation::max : Aggregation::none;
}

TaggedText tagged_text(const Text& text, const std::string& delimiter) {
  if (text.kind == Text::Kind::single) return {std::string(text.parts[0]), {}, {}, false};
  return TaggedText::from_words({text.parts.begin(), text.parts.end()}, delimiter);
}

void check_kind(const Text& text) {
  if (text.kind != Text::Kind::pair) return;
  throw InputError("text is of the wrong type", {"a text or its words", "a pair of texts"});
}

}  // namespace

struct TokenClassification::Parts {
  // How a call groups and cuts.
  struct Settings {
    decoding::TaggingOptions tagging;
    std::string delimiter;
    EncodeOptions encoding;
  };

  Parts(const std::string& path, const OpenOptions& options)
      : bundle(path, "token-classification", options),
        table(decoding::TagTable::from_labels(bundle.manifest().labels)) {
    bundle.check_labels();
    const Parameters own(bundle);
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

  std::vector<Row> encode(const Text& text, const Settings& settings) const {
    std::vector<Row> windows;
    for (Encoded& window : bundle.tokenizer().encode(text, settings.encoding)) {
      windows.push_back({std::move(window)});
    }
    return windows;
  }

  std::vector<std::vector<Entity>> answer(const std::vector<Text>& texts,
                                          const TokenClassificationOptions& options,
                                          bool several) const {
    const Settings chosen = settings(options);
    using Logits = std::vector<float>;  // (S, L)
    const auto join = [this](const std::vector<std::string>& tokens) {
      return bundle.tokenizer().join(tokens);
    };
    return pipelines::answer_items(
        bundle, texts.size(), several, options.batch_size,
        [&](std::size_t item) {
          check_kind(texts[item]);
          return encode(texts[item], chosen);
        },
        [](const Row&, const RowOutputs& outputs) {
          const decoding::Vector logits = outputs.at("logits");
          return Logits(logits.begin(), logits.end());
        },
        [&](std::size_t item, const std::vector<Row>& rows, const std::vector<Logits>& kept) {
          std::vector<decoding::TaggedWindow> windows;
          for (std::size_t row = 0; row < rows.size(); ++row) {
            const Encoded& own = rows[row].encoded;
            windows.push_back({&own, {kept[row].data(), own.size(), table.names.size()}});
          }
          return decoding::decode_entities(tagged_text(texts[item], chosen.delimiter), windows,
                                           table, chosen.tagging, join);
        });
  }

  OpenedBundle bundle;
  decoding::TagTable table;
  std::string aggregation_strategy;
  std::vector<std::string> ignore_labels;
  std::optional<std::int64_t> stride;
  std::string delimiter;
  Truncation truncation;
};

TokenClassification::TokenClassification(std::shared_ptr<const Parts> parts)
    : Pipeline({parts, &parts->bundle}), parts_(std::move(parts)) {}

TokenClassification TokenClassification::open(const std::string& path, const OpenOptions& options) {
  return TokenClassification(std::make_shared<const Parts>(path, options));
}

std::vector<Entity> TokenClassification::operator()(
    const Text& item, const TokenClassificationOptions& options) const {
  return parts_->answer({item}, options, false).front();
}

std::vector<std::vector<Entity>> TokenClassification::operator()(
    const std::vector<Text>& items, const TokenClassificationOptions& options) const {
  return parts_->answer(items, options, true);
}

}  // namespace bert_export
