// Whether a text follows another.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bert_export/answers.hpp"
#include "bert_export/open_options.hpp"
#include "bert_export/pipeline.hpp"
#include "bert_export/text_pair.hpp"
#include "bert_export/visibility.hpp"

namespace bert_export {

struct NextSentencePredictionOptions {
  // Rows per graph call at most, besides the token budget.
  std::optional<std::size_t> batch_size = std::nullopt;
};

// Judges pairs of texts.
class BERT_EXPORT_API NextSentencePrediction : public Pipeline {
 public:
  // As TextClassification::open.
  static NextSentencePrediction open(const std::string& path, const OpenOptions& options = {});

  // Whether the second text follows the first; a pair that is too long is cut. Throws InputError
  // where a text is malformed.
  NextSentence operator()(const TextPair& pair,
                          const NextSentencePredictionOptions& options = {}) const;
  // That of each pair.
  std::vector<NextSentence> operator()(const std::vector<TextPair>& pairs,
                                       const NextSentencePredictionOptions& options = {}) const;

 private:
  struct Parts;
  explicit NextSentencePrediction(std::shared_ptr<const Parts> parts);
  std::shared_ptr<const Parts> parts_;
};

}  // namespace bert_export
