// What the tasks that generate share: options of a call, and rows that grow token by token.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bert_export/generation.hpp"
#include "decoding/generation.hpp"
#include "pipelines/opened_bundle.hpp"
#include "sessions/cache.hpp"

namespace bert_export::pipelines {

using decoding::Ids;
using Continuations = std::vector<std::unique_ptr<decoding::Continuation>>;

// How many times the token budget a batch may hold where a cache is kept: a step runs one token of
// each row, whose cost is to read the weights, however many rows share it.
inline constexpr std::size_t cached_budgets = 8;

// Defaults of the options, a bundle's post-processing.
struct GenerationParameters {
  bool do_sample;
  // As tokens are chosen where they are drawn; without ends.
  decoding::Decoding decoding;
};

// What a bundle says; `num_beams` where it says nothing of them.
GenerationParameters read_parameters(const Parameters& own, std::size_t num_beams);

// How tokens are chosen, by the options of a call. `ends` are ids of the tokens that end a text.
// Throws InputError where an option is out of range, or two do not go together.
decoding::Decoding read_decoding(const GenerationOptions& options, const GenerationParameters& own,
                                 Ids ends);

// Ids of the tokens that end a text, by the option of a call. Throws InputError.
Ids read_ends(const Ids& asked, std::int64_t vocabulary);

// What grows out of every prompt of a batch.
struct Growth {
  // The prompts and 1 where there is a token, padded on the left, both (B, S).
  std::vector<Ids> ids;
  std::vector<Ids> mask;
  std::vector<Continuations> of_prompts;

  // The new tokens of each answer to each prompt.
  std::vector<std::vector<Ids>> answers() const;
};

// Gives the graph for a step; throws where it is closed.
using Open = std::function<std::shared_ptr<const sessions::Session>()>;

// Lets prompts grow by a token each, again and again, until all are done or `stepped`, which is
// called after every token, wants no more. The cache must be empty.
void grow(const Open& session, sessions::Cache& cache, Growth& growth,
          const std::function<bool()>& stepped = [] { return true; });

// The new tokens of each answer to each row, batch by batch; `answer` gives those of a batch's rows.
// `lengths` are the tokens that a row's answers have in the end, all of them together.
std::vector<std::vector<Ids>> complete_rows(
    const OpenedBundle& bundle, const std::vector<const Row*>& rows,
    const std::vector<std::size_t>& lengths, std::optional<std::size_t> batch_size,
    const OpenedBundle::Cost& cost,
    const std::function<std::vector<std::vector<Ids>>(const std::vector<const Row*>&)>& answer);

// Refuses options that mean nothing, and several texts, where one comes piece by piece. Throw
// InputError.
void check_streamed(bool given, const char* option);
void check_streams_one(const decoding::Decoding& chosen);

// Lets one text grow and hands over what is added to it piece by piece; a piece comes once no later
// token changes it. `prompt` is what the text grows out of, `begun` what of its spelling is no part
// of a piece.
void stream_text(const Open& session, sessions::Cache& cache, Growth& growth, const Ids& prompt,
                 const std::string& begun, const std::function<std::string(const Ids&)>& decode,
                 const ReceivePiece& receive);

}  // namespace bert_export::pipelines
