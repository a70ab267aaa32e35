// Logits of a sequence to labels: classes, hypotheses, and whether a sentence follows.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bert_export/answers.hpp"
#include "decoding/matrix.hpp"

namespace bert_export::decoding {

enum class Activation { none, sigmoid, softmax };

// What turns logits into scores where nobody says; `problem_type` is the checkpoint's config's.
Activation choose_activation(const std::optional<std::string>& problem_type, std::size_t labels);

// Scores of every label, float32 (L,).
std::vector<float> score_labels(Vector logits, Activation activation);

// The best labels, best first; equal scores keep the labels' order. All without `top_k`.
std::vector<Label> rank_labels(Vector scores, const std::vector<std::string>& labels,
                               std::optional<std::size_t> top_k);

// Id of the first label that starts with "entail", whatever its case.
std::optional<std::size_t> find_entailment(const std::vector<std::string>& labels);

// How far each of C hypotheses holds, float32 (C,), from logits (C, L). With `multi_label` each is
// weighed against its contradiction, instead of against the others; a single one always is.
std::vector<float> score_hypotheses(Matrix logits, std::size_t entailment, bool multi_label);

// The answer to one text, best label first; of equal scores the last comes first.
Hypotheses rank_hypotheses(std::string_view text, const std::vector<std::string>& labels,
                           Vector scores);

// The verdict on one pair; of the two logits the first speaks for "is next".
NextSentence judge_next_sentence(Vector logits);

}  // namespace bert_export::decoding
