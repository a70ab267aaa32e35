// A batch in pieces: texts do not meet each other, so some of them may go through the whole program
// before the next do, and what lies between operations stays in the processor's caches.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "native/execution.hpp"

namespace bert_export::native {

struct Piece {
  std::size_t first_text = 0;
  std::size_t first_token = 0;
  // Places of its masks among those of the batch, and where they lie among its own tokens.
  std::vector<std::size_t> masks;
  std::vector<std::int64_t> masked_positions;
  Texts texts;
};

// Cuts a batch into pieces of about equal size, for so many threads.
std::vector<Piece> cut(const Texts& texts, std::size_t threads);

// Whether so many threads, each with its own piece, end at about the same time.
bool balanced(const std::vector<Piece>& pieces, std::size_t tokens, std::size_t threads);

}  // namespace bert_export::native
