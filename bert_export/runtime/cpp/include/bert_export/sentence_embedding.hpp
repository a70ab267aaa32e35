// Vectors of texts.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bert_export/open_options.hpp"
#include "bert_export/pipeline.hpp"
#include "bert_export/visibility.hpp"

namespace bert_export {

struct SentenceEmbeddingOptions {
  // Whether vectors are scaled to length 1 after truncation; what the graph says where it is
  // absent.
  std::optional<bool> normalize = std::nullopt;
  // Numbers that a vector keeps.
  std::optional<std::size_t> truncate_dim = std::nullopt;
  // Written before every text; the model's default prompt where it is absent.
  std::optional<std::string> prompt = std::nullopt;
  // Names one of the model's prompts instead.
  std::optional<std::string> prompt_name = std::nullopt;
  // Rows per graph call at most, besides the token budget.
  std::optional<std::size_t> batch_size = std::nullopt;
};

// One vector per text.
class BERT_EXPORT_API SentenceEmbedding : public Pipeline {
 public:
  // As TextClassification::open.
  static SentenceEmbedding open(const std::string& path, const OpenOptions& options = {});

  // Length of the graph's vectors.
  std::size_t dimension() const;

  // A text's vector; a text that is too long is cut. Throws InputError where a text or an option is
  // malformed, or a prompt is unknown.
  std::vector<float> operator()(std::string_view text,
                                const SentenceEmbeddingOptions& options = {}) const;
  // Those of each text.
  std::vector<std::vector<float>> operator()(const std::vector<std::string_view>& texts,
                                             const SentenceEmbeddingOptions& options = {}) const;

  // As a call, with the prompt `query` or `document` where the options name none; it is empty where
  // the model has none of that name.
  std::vector<std::vector<float>> encode_query(const std::vector<std::string_view>& texts,
                                               const SentenceEmbeddingOptions& options = {}) const;
  std::vector<std::vector<float>> encode_document(
      const std::vector<std::string_view>& texts,
      const SentenceEmbeddingOptions& options = {}) const;

  // How alike two vectors are, as the model was trained for, else their cosine; distances are
  // negative, so that more is more alike. Throws InputError where their lengths differ.
  double similarity(const std::vector<float>& left, const std::vector<float>& right) const;

 private:
  struct Parts;
  explicit SentenceEmbedding(std::shared_ptr<const Parts> parts);
  std::shared_ptr<const Parts> parts_;
};

}  // namespace bert_export
