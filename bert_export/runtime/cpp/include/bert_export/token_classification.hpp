// Tagged tokens and entities of texts.
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
  // Rows per graph call at most, besides the token budget.
  std::optional<std::size_t> batch_size = std::nullopt;
};

// A tag per token, grouped into entities.
class BERT_EXPORT_API TokenClassification : public Pipeline {
 public:
  // As TextClassification::open.
  static TokenClassification open(const std::string& path, const OpenOptions& options = {});

  // The entities of a text, or of words (Text::split). Throws InputError where a text or an option
  // is malformed.
  std::vector<Entity> operator()(const Text& text,
                                 const TokenClassificationOptions& options = {}) const;
  // Those of each text.
  std::vector<std::vector<Entity>> operator()(const std::vector<Text>& texts,
                                              const TokenClassificationOptions& options = {}) const;

 private:
  struct Parts;
  explicit TokenClassification(std::shared_ptr<const Parts> parts);
  std::shared_ptr<const Parts> parts_;
};

}  // namespace bert_export
