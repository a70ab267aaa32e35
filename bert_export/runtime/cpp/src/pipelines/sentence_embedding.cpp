#include "bert_export/sentence_embedding.hpp"

#include <algorithm>

#include "decoding/embeddings.hpp"
#include "pipelines/answering.hpp"
#include "text/printing.hpp"

namespace bert_export {

using pipelines::OpenedBundle;
using pipelines::Parameters;
using pipelines::Row;
using pipelines::RowOutputs;

namespace {

constexpr const char* output_name = "sentence_embedding";

}  // namespace

struct SentenceEmbedding::Parts {
  // A call's choices.
  struct Settings {
    std::string prompt;
    std::optional<std::size_t> truncate_dim;
    bool normalize;
  };

  Parts(const std::string& path, const OpenOptions& options)
      : bundle(path, "sentence-embedding", options) {
    const Parameters own(bundle);
    normalized = own.flag("normalize", false);
    prompts = own.strings_by_name("prompts");
    default_prompt_name = own.string_or_none("default_prompt_name");
    include_prompt = own.flag("include_prompt", true);
    similarity = pipelines::check_word(
        "similarity_fn_name", own.string("similarity_fn_name", "cosine"),
        {"cosine", "dot", "euclidean", "manhattan"}, "one of cosine, dot, euclidean, manhattan");
    truncate_dim = own.whole("truncate_dim", std::nullopt, 1);
    encoding.truncation = own.truncation("truncation", Truncation::longest_first);
    dimension = read_dimension();
  }

  std::size_t read_dimension() const {
    for (const bundle::TensorSpec& output : bundle.graph().outputs) {
      if (output.name != output_name || output.shape.empty()) continue;
      if (const auto* const size = std::get_if<std::int64_t>(&output.shape.back())) {
        return static_cast<std::size_t>(*size);
      }
    }
    throw BundleError("bundle has a graph that gives no vectors",
                      {std::string(output_name) + " of a known length", "another interface",
                       "Export the bundle again"});
  }

  Settings settings(const SentenceEmbeddingOptions& options) const {
    if (options.normalize == false && normalized) {
      throw InputError("normalize=False does not fit the bundle",
                       {"True or None", "a graph that ends in a normalization",
                        "Export the checkpoint without its Normalize module"});
    }
    if (options.truncate_dim == std::size_t{0}) {
      throw InputError("truncate_dim is wrong", {"a whole number from 1 on", "0"});
    }
    Settings settings{choose_prompt(options), options.truncate_dim,
                      options.normalize.value_or(false)};
    if (!settings.truncate_dim && truncate_dim) {
      settings.truncate_dim = static_cast<std::size_t>(*truncate_dim);
    }
    return settings;
  }

  // The given text, the named one, or the default's.
  std::string choose_prompt(const SentenceEmbeddingOptions& options) const {
    if (options.prompt) return *options.prompt;
    if (options.prompt_name) return named_prompt(*options.prompt_name);
    const std::string* const text = find_prompt(default_prompt_name.value_or(""));
    return text == nullptr ? "" : *text;
  }

  std::string named_prompt(const std::string& name) const {
    if (const std::string* const text = find_prompt(name)) return *text;
    std::string known;
    for (const auto& [one, text] : prompts) known += (known.empty() ? "one of " : ", ") + one;
    const std::string shown = text::shown(name);
    throw InputError(
        "prompt " + shown + " is unknown",
        {known.empty() ? "a bundle with prompts" : known, shown, "Pass the text itself as prompt"});
  }

  // nullptr where the model has no prompt of that name.
  const std::string* find_prompt(const std::string& name) const {
    const auto found = std::find_if(prompts.begin(), prompts.end(),
                                    [&](const auto& prompt) { return prompt.first == name; });
    return found == prompts.end() ? nullptr : &found->second;
  }

  Row encode(std::string_view text, const std::string& prompt) const {
    Row row = prompt.empty() ? pipelines::encode_text(bundle.tokenizer(), text, encoding)
                             : pipelines::encode_text(bundle.tokenizer(),
                                                      prompt + std::string(text), encoding);
    if (!include_prompt) {
      row.extra["pooling_mask"] = decoding::pooling_mask(row.encoded.size(), prompt_tokens(prompt));
    }
    return row;
  }

  // Tokens that a prompt takes up at a row's start, [CLS] included: its own row, less its [SEP].
  std::size_t prompt_tokens(const std::string& prompt) const {
    if (prompt.empty()) return 0;
    return bundle.tokenizer().encode(prompt, encoding).front().size() - 1;
  }

  std::vector<std::vector<float>> answer(const std::vector<std::string_view>& texts,
                                         const SentenceEmbeddingOptions& options,
                                         bool several) const {
    const Settings chosen = settings(options);
    using Numbers = std::vector<float>;
    return pipelines::answer_items(
        bundle, texts.size(), several, options.batch_size,
        [&](std::size_t item) { return std::vector<Row>{encode(texts[item], chosen.prompt)}; },
        [&](const Row&, const RowOutputs& outputs) {
          return decoding::finish_vector(outputs.at(output_name), chosen.truncate_dim,
                                         chosen.normalize);
        },
        [](std::size_t, const std::vector<Row>&, const std::vector<Numbers>& kept) {
          return kept.front();
        });
  }

  // Options with the prompt of that name, where they ask for none; empty where there is none.
  SentenceEmbeddingOptions prompted(SentenceEmbeddingOptions options, const char* name) const {
    if (options.prompt || options.prompt_name) return options;
    const std::string* const text = find_prompt(name);
    options.prompt = text == nullptr ? "" : *text;
    return options;
  }

  OpenedBundle bundle;
  bool normalized;
  std::vector<std::pair<std::string, std::string>> prompts;
  std::optional<std::string> default_prompt_name;
  bool include_prompt;
  std::optional<std::int64_t> truncate_dim;
  EncodeOptions encoding;
  std::size_t dimension;
  // How two vectors are compared.
  std::string similarity;
};

SentenceEmbedding::SentenceEmbedding(std::shared_ptr<const Parts> parts)
    : Pipeline({parts, &parts->bundle}), parts_(std::move(parts)) {}

SentenceEmbedding SentenceEmbedding::open(const std::string& path, const OpenOptions& options) {
  return SentenceEmbedding(std::make_shared<const Parts>(path, options));
}

std::vector<float> SentenceEmbedding::operator()(std::string_view item,
                                                 const SentenceEmbeddingOptions& options) const {
  return parts_->answer({item}, options, false).front();
}

std::vector<std::vector<float>> SentenceEmbedding::operator()(
    const std::vector<std::string_view>& items, const SentenceEmbeddingOptions& options) const {
  return parts_->answer(items, options, true);
}

std::vector<std::vector<float>> SentenceEmbedding::encode_query(
    const std::vector<std::string_view>& texts, const SentenceEmbeddingOptions& options) const {
  return parts_->answer(texts, parts_->prompted(options, "query"), true);
}

std::vector<std::vector<float>> SentenceEmbedding::encode_document(
    const std::vector<std::string_view>& texts, const SentenceEmbeddingOptions& options) const {
  return parts_->answer(texts, parts_->prompted(options, "document"), true);
}

std::size_t SentenceEmbedding::dimension() const { return parts_->dimension; }

double SentenceEmbedding::similarity(const std::vector<float>& left,
                                     const std::vector<float>& right) const {
  if (left.size() != right.size()) {
    throw InputError("embeddings2 are of another length than embeddings1",
                     {std::to_string(left.size()) + " numbers each", std::to_string(right.size())});
  }
  return decoding::compare_vectors(left, right, parts_->similarity);
}

}  // namespace bert_export
