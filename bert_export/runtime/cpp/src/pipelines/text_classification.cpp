#include "bert_export/text_classification.hpp"

#include <algorithm>

#include "decoding/labels.hpp"
#include "decoding/softmax.hpp"
#include "pipelines/answering.hpp"

namespace bert_export {

using pipelines::OpenedBundle;
using pipelines::Parameters;
using pipelines::Row;
using pipelines::RowOutputs;

using decoding::Activation;

namespace {

Activation activation_named(const std::string& name) {
  if (name == "sigmoid") return Activation::sigmoid;
  return name == "softmax" ? Activation::softmax : Activation::none;
}

}  // namespace

struct TextClassification::Parts {
  Parts(const std::string& path, const OpenOptions& options)
      : bundle(path, "text-classification", options) {
    bundle.check_labels();
    const Parameters own(bundle);
    problem_type = own.string_or_none("problem_type");
    activation_fn = own.string_or_none("activation_fn");
    function_to_apply = own.string("function_to_apply", "default");
    top_k = own.whole("top_k", 1, 1);
    truncation = own.truncation("truncation", Truncation::longest_first);
    max_length = own.whole("max_length", std::nullopt, 1);
  }

  Activation activation(const std::optional<std::string>& asked) const {
    const std::string name = pipelines::check_word(
        "function_to_apply", asked.value_or(function_to_apply),
        {"default", "none", "sigmoid", "softmax"}, "default, none, sigmoid, softmax");
    if (name != "default") return activation_named(name);
    return decoding::choose_activation(problem_type, bundle.manifest().labels.size());
  }

  // A length alone switches cutting on.
  EncodeOptions tokenization(const TextClassificationOptions& options) const {
    EncodeOptions own;
    if (options.max_length) {
      pipelines::check_whole<std::int64_t>("max_length", *options.max_length, 1);
    }
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
    return pipelines::encode_text(bundle.tokenizer(), text, how,
                                  bundle.manifest().max_position_embeddings);
  }

  // What `decode` makes of each text's logits.
  template <typename Decode>
  auto answer(const std::vector<Text>& texts, const EncodeOptions& how, bool several,
              std::optional<std::size_t> batch_size, const Decode& decode) const {
    using Logits = std::vector<float>;
    return pipelines::answer_items(
        bundle, texts.size(), several, batch_size,
        [&](std::size_t item) { return std::vector<Row>{encode(texts[item], how)}; },
        [](const Row&, const RowOutputs& outputs) {
          const decoding::Vector logits = outputs.at("logits");
          return Logits(logits.begin(), logits.end());
        },
        [&](std::size_t, const std::vector<Row>&, const std::vector<Logits>& kept) {
          return decode(kept.front());
        });
  }

  std::vector<std::vector<Label>> answer(const std::vector<Text>& texts,
                                         const TextClassificationOptions& options,
                                         bool several) const {
    const Activation function = activation(options.function_to_apply);
    const std::optional<std::size_t> reported = labels_reported(options);
    const auto rank = [&](const std::vector<float>& logits) {
      return decoding::rank_labels(decoding::score_labels(logits, function),
                                   bundle.manifest().labels, reported);
    };
    // Upstream's pipeline takes an empty second text for none; its cross-encoder does not.
    std::vector<Text> read = texts;
    for (Text& text : read) {
      if (text.kind == Text::Kind::pair && text.parts[1].empty()) text = Text(text.parts[0]);
    }
    return answer(read, tokenization(options), several, options.batch_size, rank);
  }

  // What predict applies to the logits: as asked, as the checkpoint says, or as usual.
  Activation predict_activation(const std::optional<std::string>& asked) const {
    if (asked) {
      return activation_named(pipelines::check_word("activation_fn", *asked,
                                                    {"none", "sigmoid", "softmax"},
                                                    "one of none, sigmoid, softmax"));
    }
    if (!activation_fn) {
      return bundle.manifest().labels.size() == 1 ? Activation::sigmoid : Activation::none;
    }
    // PyTorch's names, which sentence-transformers writes.
    const std::string module = activation_fn->substr(activation_fn->rfind('.') + 1);
    if (module == "Identity") return Activation::none;
    if (module == "Sigmoid") return Activation::sigmoid;
    if (module == "Softmax") return Activation::softmax;
    throw InputError(
        "activation_fn of the checkpoint is " + *activation_fn + ", which is not supported",
        {"one of Identity, Sigmoid, Softmax", "",
         "Pass activation_fn, one of none, sigmoid, softmax"});
  }

  std::vector<std::vector<float>> predict(const std::vector<Text>& texts,
                                          const PredictOptions& options) const {
    const Activation function = predict_activation(options.activation_fn);
    const bool sums_to_one = options.apply_softmax && bundle.manifest().labels.size() > 1;
    const auto score = [&](const std::vector<float>& logits) {
      std::vector<float> scores = decoding::score_labels(logits, function);
      return sums_to_one ? decoding::softmax(scores) : scores;
    };
    EncodeOptions how;
    how.truncation = truncation;
    how.max_length = max_length;
    return answer(texts, how, true, options.batch_size, score);
  }

  OpenedBundle bundle;
  std::optional<std::string> problem_type;
  std::optional<std::string> activation_fn;
  std::string function_to_apply;
  std::optional<std::int64_t> top_k;
  Truncation truncation;
  std::optional<std::int64_t> max_length;
};

TextClassification::TextClassification(std::shared_ptr<const Parts> parts)
    : Pipeline({parts, &parts->bundle}), parts_(std::move(parts)) {}

TextClassification TextClassification::open(const std::string& path, const OpenOptions& options) {
  return TextClassification(std::make_shared<const Parts>(path, options));
}

std::vector<Label> TextClassification::operator()(const Text& item,
                                                  const TextClassificationOptions& options) const {
  return parts_->answer({item}, options, false).front();
}

std::vector<std::vector<Label>> TextClassification::operator()(
    const std::vector<Text>& items, const TextClassificationOptions& options) const {
  return parts_->answer(items, options, true);
}

bool TextClassification::reports_best_alone() const { return parts_->top_k == 1; }

std::vector<std::vector<float>> TextClassification::predict(const std::vector<Text>& texts,
                                                            const PredictOptions& options) const {
  return parts_->predict(texts, options);
}

std::vector<Ranked> TextClassification::rank(std::string_view query,
                                             const std::vector<std::string_view>& documents,
                                             std::optional<std::size_t> top_k,
                                             const PredictOptions& options) const {
  if (labels().size() != 1) {
    throw InputError("rank does not fit the bundle",
                     {"a head of one label", std::to_string(labels().size()) + " labels",
                      "Use predict, which scores each label"});
  }
  if (top_k) pipelines::check_whole<std::size_t>("top_k", *top_k, 1);
  std::vector<Text> pairs;
  for (const std::string_view document : documents) pairs.emplace_back(query, document);
  const std::vector<std::vector<float>> scores = predict(pairs, options);
  std::vector<Ranked> ranked;
  for (std::size_t place = 0; place < scores.size(); ++place) {
    ranked.push_back({place, scores[place].front()});
  }
  std::stable_sort(ranked.begin(), ranked.end(), [](const Ranked& left, const Ranked& right) {
    return left.score > right.score;
  });
  if (top_k && *top_k < ranked.size()) ranked.resize(*top_k);
  return ranked;
}

}  // namespace bert_export
