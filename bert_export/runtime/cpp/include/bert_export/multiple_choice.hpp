// Which of several continuations fits a prompt.
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

// A prompt and its possible continuations, one at least. It owns nothing: the characters must
// outlive the call.
struct ChoiceQuestion {
  std::string_view prompt;
  std::vector<std::string_view> choices;
};

struct MultipleChoiceOptions {
  // Rows per graph call at most, besides the token budget.
  std::optional<std::size_t> batch_size = std::nullopt;
};

// Picks the continuation that fits a prompt.
class BERT_EXPORT_API MultipleChoice : public Pipeline {
 public:
  // As TextClassification::open.
  static MultipleChoice open(const std::string& path, const OpenOptions& options = {});

  // The best choice and the probability of each. Throws InputError where there is no choice or a
  // text is malformed.
  Choice operator()(const ChoiceQuestion& question,
                    const MultipleChoiceOptions& options = {}) const;
  // That of each question.
  std::vector<Choice> operator()(const std::vector<ChoiceQuestion>& questions,
                                 const MultipleChoiceOptions& options = {}) const;

 private:
  struct Parts;
  explicit MultipleChoice(std::shared_ptr<const Parts> parts);
  std::shared_ptr<const Parts> parts_;
};

}  // namespace bert_export
