// Both heads of pre-training in one pass.
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

struct PretrainingOptions {
  // Candidates per mask.
  std::optional<std::size_t> top_k = std::nullopt;
  // Rows per graph call at most, besides the token budget.
  std::optional<std::size_t> batch_size = std::nullopt;
};

// Fills the masks of a pair of texts and judges whether the second follows the first.
class BERT_EXPORT_API Pretraining : public Pipeline {
 public:
  // As TextClassification::open.
  static Pretraining open(const std::string& path, const OpenOptions& options = {});

  // Both answers; masks may stand in either text. Throws InputError where a pair is too long, a
  // text is malformed or an option does not fit the vocabulary.
  PretrainingAnswer operator()(const TextPair& pair, const PretrainingOptions& options = {}) const;
  // Those to each pair.
  std::vector<PretrainingAnswer> operator()(const std::vector<TextPair>& pairs,
                                            const PretrainingOptions& options = {}) const;

 private:
  struct Parts;
  explicit Pretraining(std::shared_ptr<const Parts> parts);
  std::shared_ptr<const Parts> parts_;
};

}  // namespace bert_export
