// What a call allows next: scores of tokens that were there already, n-grams, and the end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace bert_export::decoding {

using Ids = std::vector<std::int64_t>;

// Scores of the next token are float32 (V,): logits, or logarithms of their probabilities. Ids that
// the scores have no place for are passed over.

// Makes tokens that stand in a text already less likely: positive scores are divided by the penalty,
// negative ones multiplied; 1 changes none (Keskar 2019, "CTRL", section 4.1).
void penalize_repetition(std::vector<float>& scores, const Ids& ids, double penalty);

// Excludes tokens that would end an n-gram of so many tokens which the text holds already; 0 excludes
// none.
void block_ngrams(std::vector<float>& scores, const Ids& ids, std::size_t size);

// Excludes tokens: their scores become -inf.
void block_tokens(std::vector<float>& scores, const Ids& tokens);

}  // namespace bert_export::decoding
