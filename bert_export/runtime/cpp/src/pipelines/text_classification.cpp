#include "bert_export/errors.hpp"
#include "bert_export/pipelines.hpp"
#include "decoding/labels.hpp"
#include "pipelines/opened_bundle.hpp"

namespace bert_export {

using decoding::Activation;
using pipelines::OpenedBundle;
using pipelines::Parameters;
using pipelines::Row;
using pipelines::RowOutputs;

struct TextClassification::Parts {
  Parts(const std::string& path, const OpenOptions& options)
      : bundle(path, "text-classification", options) {
    bundle.check_labels();
    const Parameters own(bundle.manifest());
    problem_type = own.string_or_none("problem_type");
    function_to_apply = own.string("function_to_apply", "default");
    top_k = own.whole("top_k", 1, 1);
    truncation = own.truncation("truncation", Truncation::longest_first);
    max_length = own.whole("max_length", std::nullopt, 1);
  }

  Activation activation(const std::optional<std::string>& asked) const {
    const std::string name = pipelines::check_word(
        "function_to_apply", asked.value_or(function_to_apply),
        {"default", "none", "sigmoid", "softmax"}, "default, none, sigmoid, softmax");
    if (name == "none") return Activation::none;
    if (name == "sigmoid") return Activation::sigmoid;
    if (name == "softmax") return Activation::softmax;
    return decoding::choose_activation(problem_type, bundle.manifest().labels.size());
  }

  // A length alone switches cutting on.
  EncodeOptions tokenization(const TextClassificationOptions& options) const {
    EncodeOptions own;
    own.max_length = options.max_length ? options.max_length : max_length;
    if (options.truncation) {
      own.truncation = *options.truncation;
      own.max_length = options.max_length;
    } else {
      own.truncation = options.max_length ? Truncation::longest_first : truncation;
    }
    return own;
  }

  std::optional<std::size_t> labels_reported(const TextClassificationOptions& options) const {
    const std::size_t all = 0;
    const std::size_t own = top_k ? static_cast<std::size_t>(*top_k) : all;
    const std::size_t asked = options.top_k.value_or(own);
    return asked == all ? std::nullopt : std::optional(asked);
  }

  Row encode(const Text& text, const EncodeOptions& how) const {
    if (text.kind == Text::Kind::words) {
      throw InputError("text is of the wrong type", {"a text or a pair of texts", "words"});
    }
    // Upstream takes an empty second text for none.
    const bool alone = text.kind == Text::Kind::pair && text.parts[1].empty();
    return {bundle.tokenizer().encode(alone ? Text(text.parts[0]) : text, how).front()};
  }

  std::vector<std::vector<Label>> decode(const std::vector<Row>& rows, Activation activation,
                                         std::optional<std::size_t> reported) const {
    std::vector<std::vector<Label>> answers;
    for (const RowOutputs& outputs : bundle.run_rows(rows)) {
      const std::vector<float> scores = decoding::score_labels(outputs.at("logits"), activation);
      answers.push_back(decoding::rank_labels(scores, bundle.manifest().labels, reported));
    }
    return answers;
  }

  OpenedBundle bundle;
  std::optional<std::string> problem_type;
  std::string function_to_apply;
  std::optional<std::int64_t> top_k;
  Truncation truncation;
  std::optional<std::int64_t> max_length;
};

TextClassification::TextClassification(std::unique_ptr<const Parts> parts)
    : parts_(std::move(parts)) {}
TextClassification::TextClassification(TextClassification&&) noexcept = default;
TextClassification& TextClassification::operator=(TextClassification&&) noexcept = default;
TextClassification::~TextClassification() = default;

TextClassification TextClassification::open(const std::string& path, const OpenOptions& options) {
  return TextClassification(std::make_unique<const Parts>(path, options));
}

const Tokenizer& TextClassification::tokenizer() const { return parts_->bundle.tokenizer(); }

const std::vector<std::string>& TextClassification::labels() const {
  return parts_->bundle.manifest().labels;
}

std::vector<Label> TextClassification::operator()(const Text& text,
                                                  const TextClassificationOptions& options) const {
  const Activation activation = parts_->activation(options.function_to_apply);
  const Row row = parts_->encode(text, parts_->tokenization(options));
  return parts_->decode({row}, activation, parts_->labels_reported(options)).front();
}

std::vector<std::vector<Label>> TextClassification::operator()(
    const std::vector<Text>& texts, const TextClassificationOptions& options) const {
  const Activation activation = parts_->activation(options.function_to_apply);
  const std::optional<std::size_t> top_k = parts_->labels_reported(options);
  const EncodeOptions how = parts_->tokenization(options);
  std::vector<Row> rows;
  for (std::size_t index = 0; index < texts.size(); ++index) {
    rows.push_back(
        pipelines::naming_item(index, [&] { return parts_->encode(texts[index], how); }));
  }
  return parts_->decode(rows, activation, top_k);
}

}  // namespace bert_export
