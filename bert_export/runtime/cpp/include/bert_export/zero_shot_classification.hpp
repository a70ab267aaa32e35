// Labels that were never trained.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bert_export/answers.hpp"
#include "bert_export/open_options.hpp"
#include "bert_export/pipeline.hpp"
#include "bert_export/visibility.hpp"

namespace bert_export {

struct ZeroShotClassificationOptions {
  // The hypothesis, with one placeholder {} (or {0}) for the label; {{ and }} stand for braces.
  std::optional<std::string> hypothesis_template = std::nullopt;
  // Whether every label is scored for itself; otherwise the scores of a text sum to 1.
  std::optional<bool> multi_label = std::nullopt;
  // Rows per graph call at most, besides the token budget.
  std::optional<std::size_t> batch_size = std::nullopt;
};

// Labels that were never trained, scored by a natural-language-inference head.
class BERT_EXPORT_API ZeroShotClassification : public Pipeline {
 public:
  // As TextClassification::open; a bundle for text classification will do. Throws TaskError where
  // none of the head's labels means entailment.
  static ZeroShotClassification open(const std::string& path, const OpenOptions& options = {});

  // How far each label holds of a text, best first. Throws InputError where a text is empty, there
  // is no label, the template has no placeholder, or a hypothesis leaves no room for the text.
  Hypotheses operator()(std::string_view text, const std::vector<std::string>& candidate_labels,
                        const ZeroShotClassificationOptions& options = {}) const;
  // That of each text.
  std::vector<Hypotheses> operator()(const std::vector<std::string_view>& texts,
                                     const std::vector<std::string>& candidate_labels,
                                     const ZeroShotClassificationOptions& options = {}) const;

 private:
  struct Parts;
  explicit ZeroShotClassification(std::shared_ptr<const Parts> parts);
  std::shared_ptr<const Parts> parts_;
};

}  // namespace bert_export
