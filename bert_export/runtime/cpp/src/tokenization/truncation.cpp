#include "tokenization/truncation.hpp"

#include <algorithm>

namespace bert_export::tokenization {

std::vector<Range> windows_over(std::size_t tokens, std::size_t room, std::size_t stride,
                                Side side) {
  if (tokens <= room) return {{0, tokens}};
  if (room == 0) return {{0, 0}, {0, tokens}};
  std::vector<Range> windows;
  for (std::size_t passed = 0;; passed += room - stride) {
    const std::size_t reached = std::min(passed + room, tokens);
    if (side == Side::right) {
      windows.push_back({passed, reached});
    } else {
      windows.push_back({tokens - reached, tokens - passed});
    }
    if (reached == tokens) return windows;
  }
}

Kept keep(std::size_t first, std::size_t second, std::size_t room, Truncation truncation) {
  const std::size_t excess = first + second - room;
  if (room == 0) return {0, 0};
  if (truncation == Truncation::only_first) return {first - excess, second};
  if (truncation == Truncation::only_second) return {first, second - excess};
  // The longer is cut to the length of the shorter, then both are.
  const std::size_t shorter = std::min(first, second);
  std::size_t kept_shorter = shorter;
  std::size_t kept_longer = shorter > room ? shorter : std::max(shorter, room - shorter);
  if (kept_shorter + kept_longer > room) {
    kept_shorter = room / 2;
    kept_longer = room - kept_shorter;
  }
  if (first > second) std::swap(kept_shorter, kept_longer);
  return {kept_shorter, kept_longer};
}

}  // namespace bert_export::tokenization
