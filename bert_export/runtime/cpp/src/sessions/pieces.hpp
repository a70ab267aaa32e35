// Runs a large batch in pieces whose intermediate results stay in the processor's caches.
#pragma once

#include <cstddef>
#include <vector>

#include "sessions/session.hpp"

namespace bert_export::sessions {

// Padded tokens of a piece at most, unless a single row has more.
inline constexpr std::size_t piece_tokens = 512;

// Whether every first axis of a graph is the rows of a batch, or masks with their positions.
bool can_cut(const bundle::GraphRecord& graph);

// Cuts a batch into pieces of nearly equal size, each within the token budget; their outputs, joined
// in order, are those of the batch. Empty where one piece is enough, where positions are out of order
// or range, or where a piece would have no mask.
std::vector<Feeds> cut_feeds(const bundle::GraphRecord& graph, const Feeds& feeds);

// Puts the outputs of the pieces together, in order.
Outputs join_outputs(std::vector<Outputs> pieces);

}  // namespace bert_export::sessions
