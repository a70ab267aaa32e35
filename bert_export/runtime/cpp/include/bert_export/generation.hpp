// Options that the tasks which generate text share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

namespace bert_export {

// When a beam search ends: with as many ended texts as beams (`yes`); where no running one can
// become better, judged by its present length (`no`) or by the longest that it may reach (`never`).
enum class EarlyStopping { no, yes, never };

// What is left out is as the bundle says.
struct GenerationOptions {
  // Tokens that come at most.
  std::optional<std::size_t> max_new_tokens = std::nullopt;
  // Tokens that come before the end may.
  std::optional<std::size_t> min_new_tokens = std::nullopt;
  // As max_new_tokens, with the tokens counted that are there before.
  std::optional<std::size_t> max_length = std::nullopt;
  // Draw tokens at random instead of taking the likeliest, with num_beams of 1; the next four matter
  // only then.
  std::optional<bool> do_sample = std::nullopt;
  // Above 1 flattens, below 1 sharpens the distribution.
  std::optional<double> temperature = std::nullopt;
  // Draw among that many of the likeliest tokens; 0 for all.
  std::optional<std::size_t> top_k = std::nullopt;
  // Draw among the likeliest tokens that together reach this probability.
  std::optional<double> top_p = std::nullopt;
  // Makes an answer repeatable, whichever texts surround it; the numbers are those of numpy's
  // default generator.
  std::optional<std::uint64_t> seed = std::nullopt;
  // Texts that a beam search keeps side by side; 1 for none.
  std::optional<std::size_t> num_beams = std::nullopt;
  // Of a beam search: above 0 prefers longer texts, below 0 shorter ones.
  std::optional<double> length_penalty = std::nullopt;
  std::optional<EarlyStopping> early_stopping = std::nullopt;
  // Above 1 makes tokens that are in the text less likely.
  std::optional<double> repetition_penalty = std::nullopt;
  // Tokens of an n-gram that may come only once; 0 for no bound.
  std::optional<std::size_t> no_repeat_ngram_size = std::nullopt;
  // Texts that come of each: of a beam search the best, at most as many as beams; else each is drawn
  // by itself.
  std::optional<std::size_t> num_return_sequences = std::nullopt;
  // Of the token, or tokens, that end a text.
  std::optional<std::vector<std::int64_t>> eos_token_id = std::nullopt;
  // Texts that are worked on together at most, besides the token budget.
  std::optional<std::size_t> batch_size = std::nullopt;
};

// Receives a text piece by piece, and says whether more is wanted.
using ReceivePiece = std::function<bool(std::string_view piece)>;

}  // namespace bert_export
