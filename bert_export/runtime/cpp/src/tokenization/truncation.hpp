// Which tokens of a text stay in a row, and which follow in further windows.
#pragma once

#include <cstddef>
#include <vector>

#include "bert_export/tokenizer.hpp"

namespace bert_export::tokenization {

// Tokens of a text, from the first to the one behind the last.
struct Range {
  std::size_t begin;
  std::size_t end;
};

// The windows over the tokens of a text: at least one, and one alone where nothing is cut. Each
// shares `stride` tokens with the one before. With no room the first is empty and the second has
// all, which is how `tokenizers` does it.
std::vector<Range> windows_over(std::size_t tokens, std::size_t room, std::size_t stride, Side side);

// How many tokens of the first and of the second text stay.
struct Kept {
  std::size_t first;
  std::size_t second;
};

// `room` is what is left for both, less than they have together.
Kept keep(std::size_t first, std::size_t second, std::size_t room, Truncation truncation);

}  // namespace bert_export::tokenization
