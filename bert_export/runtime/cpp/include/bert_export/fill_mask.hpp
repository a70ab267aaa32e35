// Words that fit behind masks.
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

struct FillMaskOptions {
  // Candidates per mask.
  std::optional<std::size_t> top_k = std::nullopt;
  // Words that candidates are taken from; one that is not a token counts as its first token. The
  // whole vocabulary where it is absent.
  std::optional<std::vector<std::string>> targets = std::nullopt;
  std::optional<Truncation> truncation = std::nullopt;
  // Tokens that a row keeps; alone it switches truncation on.
  std::optional<std::int64_t> max_length = std::nullopt;
  // Whether rows get [CLS] and [SEP].
  std::optional<bool> add_special_tokens = std::nullopt;
  // Rows per graph call at most, besides the token budget.
  std::optional<std::size_t> batch_size = std::nullopt;
};

// Ranks what stands behind each mask of a text.
class BERT_EXPORT_API FillMask : public Pipeline {
 public:
  // As TextClassification::open.
  static FillMask open(const std::string& path, const OpenOptions& options = {});

  // Per mask of a text its candidates, best first. Throws InputError where a text has no mask or is
  // too long, or an option does not fit the vocabulary.
  std::vector<std::vector<Candidate>> operator()(std::string_view text,
                                                 const FillMaskOptions& options = {}) const;
  // Those of each text.
  std::vector<std::vector<std::vector<Candidate>>> operator()(
      const std::vector<std::string_view>& texts, const FillMaskOptions& options = {}) const;

 private:
  struct Parts;
  explicit FillMask(std::shared_ptr<const Parts> parts);
  std::shared_ptr<const Parts> parts_;
};

}  // namespace bert_export
