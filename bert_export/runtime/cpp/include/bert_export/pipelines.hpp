// A bundle's pipelines: a class per task, with the calls of the Python package.
//
// A pipeline may be called from several threads at once. What a call leaves out is as the bundle says.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bert_export/answers.hpp"
#include "bert_export/tokenizer.hpp"
#include "bert_export/visibility.hpp"

namespace bert_export {

struct OpenOptions {
  // Which of the bundle's engines answers; its default where it is absent.
  std::optional<std::string> target = std::nullopt;
  // Threads inside an operator; 0 leaves it to the engine, which takes all cores.
  int threads = 0;
  // ONNX Runtime's: whether its threads burn processor time while they wait, so that they start
  // sooner.
  bool spinning = true;
  // ONNX Runtime's: whether memory that a long input needed is given back after the call.
  bool shrink_arena = false;
  // Padded tokens per graph call; a longer single row travels alone.
  std::size_t token_budget = 512;
  // Whether rows are sorted by length before they are batched; answers keep the caller's order.
  bool sort = true;
  // Whether every file is compared with its recorded sha256.
  bool verify = true;
  // The engine's shared library; found where it is empty.
  std::string library = {};
  // OpenVINO's: latency, its default, gives all threads to one run; throughput splits them among as
  // many runs as it finds best, for callers that come from several threads.
  std::string hint = {};
  // OpenVINO's: a folder in which it keeps compiled graphs, and finds them the next time.
  std::string cache = {};
  // OpenVINO's: shapes of the first input, such as {1, 128}, for which the graph is compiled once
  // more; calls of exactly that shape take less time.
  std::vector<std::vector<std::int64_t>> shapes = {};
};

struct TextClassificationOptions {
  // Labels that are reported, best first; 0 for all.
  std::optional<std::size_t> top_k = std::nullopt;
  // sigmoid, softmax, none or default: nothing for regression, sigmoid for several labels at once or
  // a single label, else softmax.
  std::optional<std::string> function_to_apply = std::nullopt;
  std::optional<Truncation> truncation = std::nullopt;
  // Tokens that a row keeps.
  std::optional<std::int64_t> max_length = std::nullopt;
};

// One label, several labels or a score for a text or a pair of texts.
class BERT_EXPORT_API TextClassification {
 public:
  // Opens a bundle. Throws BundleError where it is missing, tampered with, truncated or of another
  // version, TaskError where it is for another task, TargetError where its engine is not installed.
  static TextClassification open(const std::string& path, const OpenOptions& options = {});

  TextClassification(TextClassification&&) noexcept;
  TextClassification& operator=(TextClassification&&) noexcept;
  ~TextClassification();

  const Tokenizer& tokenizer() const;
  const std::vector<std::string>& labels() const;

  // The best labels of a text. Throws InputError where a text or an option is malformed, or a text
  // too long and not to be cut.
  std::vector<Label> operator()(const Text& text,
                                const TextClassificationOptions& options = {}) const;
  // Those of each text.
  std::vector<std::vector<Label>> operator()(const std::vector<Text>& texts,
                                             const TextClassificationOptions& options = {}) const;

 private:
  struct Parts;
  explicit TextClassification(std::unique_ptr<const Parts> parts);
  std::unique_ptr<const Parts> parts_;
};

struct TokenClassificationOptions {
  // none, simple, first, average or max: how tokens become entities.
  std::optional<std::string> aggregation_strategy = std::nullopt;
  // Left out of the answer, after the grouping.
  std::optional<std::vector<std::string>> ignore_labels = std::nullopt;
  // Tokens that neighbouring windows share when a text is too long for one; bert_export::none cuts
  // such a text.
  std::optional<std::int64_t> stride = std::nullopt;
  // What stands between words that came split, in the text that offsets count in.
  std::optional<std::string> delimiter = std::nullopt;
};

// A tag per token, grouped into entities.
class BERT_EXPORT_API TokenClassification {
 public:
  // As TextClassification::open.
  static TokenClassification open(const std::string& path, const OpenOptions& options = {});

  TokenClassification(TokenClassification&&) noexcept;
  TokenClassification& operator=(TokenClassification&&) noexcept;
  ~TokenClassification();

  const Tokenizer& tokenizer() const;
  const std::vector<std::string>& labels() const;

  // The entities of a text, or of words (Text::split). Throws InputError where a text or an option is
  // malformed.
  std::vector<Entity> operator()(const Text& text,
                                 const TokenClassificationOptions& options = {}) const;
  // Those of each text.
  std::vector<std::vector<Entity>> operator()(const std::vector<Text>& texts,
                                              const TokenClassificationOptions& options = {}) const;

 private:
  struct Parts;
  explicit TokenClassification(std::unique_ptr<const Parts> parts);
  std::unique_ptr<const Parts> parts_;
};

struct SentenceEmbeddingOptions {
  // Whether vectors are scaled to length 1 after truncation; what the graph says where it is absent.
  std::optional<bool> normalize = std::nullopt;
  // Numbers that a vector keeps.
  std::optional<std::size_t> truncate_dim = std::nullopt;
  // Written before every text; the model's default prompt where it is absent.
  std::optional<std::string> prompt = std::nullopt;
  // Names one of the model's prompts instead.
  std::optional<std::string> prompt_name = std::nullopt;
};

// One vector per text.
class BERT_EXPORT_API SentenceEmbedding {
 public:
  // As TextClassification::open.
  static SentenceEmbedding open(const std::string& path, const OpenOptions& options = {});

  SentenceEmbedding(SentenceEmbedding&&) noexcept;
  SentenceEmbedding& operator=(SentenceEmbedding&&) noexcept;
  ~SentenceEmbedding();

  const Tokenizer& tokenizer() const;
  // Length of the graph's vectors.
  std::size_t dimension() const;

  // A text's vector; a text that is too long is cut. Throws InputError where a text or an option is
  // malformed, or a prompt is unknown.
  std::vector<float> operator()(std::string_view text,
                                const SentenceEmbeddingOptions& options = {}) const;
  // Those of each text.
  std::vector<std::vector<float>> operator()(const std::vector<std::string_view>& texts,
                                             const SentenceEmbeddingOptions& options = {}) const;

 private:
  struct Parts;
  explicit SentenceEmbedding(std::unique_ptr<const Parts> parts);
  std::unique_ptr<const Parts> parts_;
};

}  // namespace bert_export
