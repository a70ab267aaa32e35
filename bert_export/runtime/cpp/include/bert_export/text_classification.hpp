// Labels of texts, and scores of pairs of texts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bert_export/answers.hpp"
#include "bert_export/open_options.hpp"
#include "bert_export/pipeline.hpp"
#include "bert_export/tokenizer.hpp"
#include "bert_export/visibility.hpp"

namespace bert_export {

struct TextClassificationOptions {
  // Labels that are reported, best first; 0 for all.
  std::optional<std::size_t> top_k = std::nullopt;
  // sigmoid, softmax, none or default: nothing for regression, sigmoid for several labels at once
  // or a single label, else softmax.
  std::optional<std::string> function_to_apply = std::nullopt;
  std::optional<Truncation> truncation = std::nullopt;
  // Tokens that a row keeps.
  std::optional<std::int64_t> max_length = std::nullopt;
  // Rows per graph call at most, besides the token budget.
  std::optional<std::size_t> batch_size = std::nullopt;
};

// How pairs of texts are scored, as sentence-transformers' CrossEncoder does.
struct PredictOptions {
  // none, sigmoid or softmax; what the checkpoint's files say where it is absent, else sigmoid for
  // one label and none for several.
  std::optional<std::string> activation_fn = std::nullopt;
  // Whether scores of several labels are made to sum to 1 after that.
  bool apply_softmax = false;
  // Rows per graph call at most, besides the token budget.
  std::optional<std::size_t> batch_size = std::nullopt;
};

// A document's place in a list, and how well it fits.
struct Ranked {
  std::size_t corpus_id;
  double score;
};

// One label, several labels or a score for a text or a pair of texts.
class BERT_EXPORT_API TextClassification : public Pipeline {
 public:
  // Opens a bundle. Throws BundleError where it is missing, tampered with, truncated or of another
  // version, TaskError where it is for another task, TargetError where its engine is not installed,
  // InputError where an option does not fit.
  static TextClassification open(const std::string& path, const OpenOptions& options = {});

  // The best labels of a text. Throws InputError where a text or an option is malformed, or a text
  // too long and not to be cut.
  std::vector<Label> operator()(const Text& text,
                                const TextClassificationOptions& options = {}) const;
  // Those of each text; an error names the text by its place.
  std::vector<std::vector<Label>> operator()(const std::vector<Text>& texts,
                                             const TextClassificationOptions& options = {}) const;

  // Whether a call without top_k reports the best label alone.
  bool reports_best_alone() const;

  // A score per label for each text or pair, (N, L).
  std::vector<std::vector<float>> predict(const std::vector<Text>& texts,
                                          const PredictOptions& options = {}) const;
  // Documents by how well they fit a query, best first; all where `top_k` is absent. Throws
  // InputError where the head has several labels.
  std::vector<Ranked> rank(std::string_view query, const std::vector<std::string_view>& documents,
                           std::optional<std::size_t> top_k = std::nullopt,
                           const PredictOptions& options = {}) const;

 private:
  struct Parts;
  explicit TextClassification(std::shared_ptr<const Parts> parts);
  std::shared_ptr<const Parts> parts_;
};

}  // namespace bert_export
