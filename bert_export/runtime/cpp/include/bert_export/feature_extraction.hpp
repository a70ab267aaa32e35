// The encoder's vector of every token.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bert_export/answers.hpp"
#include "bert_export/open_options.hpp"
#include "bert_export/pipeline.hpp"
#include "bert_export/tokenizer.hpp"
#include "bert_export/visibility.hpp"

namespace bert_export {

struct FeatureExtractionOptions {
  std::optional<Truncation> truncation = std::nullopt;
  // Tokens that a row keeps; alone it switches truncation on.
  std::optional<std::int64_t> max_length = std::nullopt;
  // Whether rows get [CLS] and [SEP].
  std::optional<bool> add_special_tokens = std::nullopt;
  // Rows per graph call at most, besides the token budget.
  std::optional<std::size_t> batch_size = std::nullopt;
};

// Token vectors of the last layer, special tokens included.
class BERT_EXPORT_API FeatureExtraction : public Pipeline {
 public:
  // As TextClassification::open.
  static FeatureExtraction open(const std::string& path, const OpenOptions& options = {});

  // Length of a vector.
  std::size_t dimension() const;

  // The vectors of a text's tokens. Throws InputError where a text is malformed or too long and not
  // to be cut.
  TokenVectors operator()(std::string_view text,
                          const FeatureExtractionOptions& options = {}) const;
  // Those of each text.
  std::vector<TokenVectors> operator()(const std::vector<std::string_view>& texts,
                                       const FeatureExtractionOptions& options = {}) const;

 private:
  struct Parts;
  explicit FeatureExtraction(std::shared_ptr<const Parts> parts);
  std::shared_ptr<const Parts> parts_;
};

}  // namespace bert_export
