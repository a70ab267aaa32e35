// Logits of starts and ends to the spans that answer a question.
//
// Two ways of decoding: that of upstream's `question-answering` pipeline (probabilities of spans,
// summed over equal answers), and that of the SQuAD v2 reference (an n-best list of logits and a
// threshold for "no answer").
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "bert_export/answers.hpp"
#include "bert_export/encoded.hpp"
#include "decoding/matrix.hpp"

namespace bert_export::decoding {

// One window over the context, [CLS] question [SEP] part of the context [SEP], and what the head
// said of its S tokens.
struct Window {
  const Encoded* encoding;
  // Which tokens are of the context.
  std::vector<bool> context;
  // Which tokens share the probability: the context's and [CLS].
  std::vector<bool> open;
  Vector start_logits;
  Vector end_logits;
};

Window read_window(const Encoded& encoding, Vector start_logits, Vector end_logits,
                   std::int64_t cls_id);

struct AnswerOptions {
  // Answers at most.
  std::size_t top_k = 1;
  // Tokens of an answer at most.
  std::size_t max_answer_len = 15;
  // Whether "no answer" competes.
  bool handle_impossible_answer = false;
  // Whether an answer is widened to whole words.
  bool align_to_words = true;
};

// Answers by the probability of their spans, as upstream's pipeline: at least one, best first.
//
// Spans of all windows compete; equal answers, whatever their case and place, are one answer, with
// the sum of their scores. Upstream fills up a `top_k` that exceeds the spans that there are with
// impossible ones of score 0; here they are left out.
std::vector<Answer> decode_answers(std::string_view text, const std::vector<Window>& windows,
                                   const AnswerOptions& options);

struct SquadOptions {
  std::size_t top_k = 1;
  std::size_t max_answer_len = 30;
  // Starts, ends and spans that are considered.
  std::size_t n_best_size = 20;
  // "No answer" wins when its logits exceed those of the best span by more than this.
  double null_score_diff_threshold = 0.0;
};

// Answers by the sum of their logits: the prediction, then the rest of the n-best list, best first.
// A score is the softmax over that list, "no answer" included.
//
// Source: Devlin et al. 2018, `run_squad.py` (`version_2_with_negative`). Its answers' texts are
// rebuilt from tokens; here they are the context's own characters.
std::vector<Answer> decode_squad_v2(std::string_view text, const std::vector<Window>& windows,
                                    const SquadOptions& options);

}  // namespace bert_export::decoding
