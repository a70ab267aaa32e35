// Parts of contexts that answer questions.
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
#include "bert_export/visibility.hpp"

namespace bert_export {

// A question, and the text that may answer it. It owns nothing: the characters must outlive the
// call.
struct Question {
  std::string_view question;
  std::string_view context;
};

struct QuestionAnsweringOptions {
  // Answers at most.
  std::optional<std::size_t> top_k = std::nullopt;
  // Tokens that neighbouring windows over a long context share.
  std::optional<std::int64_t> doc_stride = std::nullopt;
  // Tokens of an answer at most.
  std::optional<std::size_t> max_answer_len = std::nullopt;
  // Tokens of a window at most.
  std::optional<std::int64_t> max_seq_len = std::nullopt;
  // Tokens kept of a question that leaves its context too little room.
  std::optional<std::size_t> max_question_len = std::nullopt;
  // Whether "no answer" competes (pipeline).
  std::optional<bool> handle_impossible_answer = std::nullopt;
  // Whether an answer is widened to whole words (pipeline).
  std::optional<bool> align_to_words = std::nullopt;
  // pipeline or squad_v2: how logits become answers.
  std::optional<std::string> method = std::nullopt;
  // Starts, ends and spans that are considered (squad_v2).
  std::optional<std::size_t> n_best_size = std::nullopt;
  // By how much "no answer" must win (squad_v2).
  std::optional<double> null_score_diff_threshold = std::nullopt;
  // Rows per graph call at most, besides the token budget.
  std::optional<std::size_t> batch_size = std::nullopt;
};

// The span of a context that answers a question; long contexts are read in windows.
class BERT_EXPORT_API QuestionAnswering : public Pipeline {
 public:
  // As TextClassification::open.
  static QuestionAnswering open(const std::string& path, const OpenOptions& options = {});

  // The answers to a question, best first. Throws InputError where a text or an option is
  // malformed.
  std::vector<Answer> operator()(const Question& question,
                                 const QuestionAnsweringOptions& options = {}) const;
  // Those to each question.
  std::vector<std::vector<Answer>> operator()(const std::vector<Question>& questions,
                                              const QuestionAnsweringOptions& options = {}) const;

 private:
  struct Parts;
  explicit QuestionAnswering(std::shared_ptr<const Parts> parts);
  std::shared_ptr<const Parts> parts_;
};

}  // namespace bert_export
