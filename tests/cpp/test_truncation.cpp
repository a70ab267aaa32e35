#include "check.hpp"
#include "tokenization/truncation.hpp"

using bert_export::Side;
using bert_export::Truncation;
using bert_export::tokenization::keep;
using bert_export::tokenization::windows_over;

namespace {

std::string shown(const std::vector<bert_export::tokenization::Range>& windows) {
  std::string line;
  for (const auto& window : windows) {
    line += std::to_string(window.begin) + "-" + std::to_string(window.end) + " ";
  }
  return line;
}

}  // namespace

TEST(windows_share_a_stride) {
  CHECK_EQUAL(shown(windows_over(10, 10, 2, Side::right)), "0-10 ");
  CHECK_EQUAL(shown(windows_over(10, 4, 2, Side::right)), "0-4 2-6 4-8 6-10 ");
  CHECK_EQUAL(shown(windows_over(10, 4, 0, Side::right)), "0-4 4-8 8-10 ");
  CHECK_EQUAL(shown(windows_over(10, 4, 0, Side::left)), "6-10 2-6 0-2 ");
  CHECK_EQUAL(shown(windows_over(3, 0, 0, Side::right)), "0-0 0-3 ");
  CHECK_EQUAL(shown(windows_over(0, 0, 0, Side::right)), "0-0 ");
}

TEST(the_longer_text_gives_way_first) {
  const auto kept = [](std::size_t first, std::size_t second, std::size_t room) {
    const auto both = keep(first, second, room, Truncation::longest_first);
    return std::to_string(both.first) + "+" + std::to_string(both.second);
  };
  CHECK_EQUAL(kept(10, 3, 8), "5+3");
  CHECK_EQUAL(kept(3, 10, 8), "3+5");
  CHECK_EQUAL(kept(10, 10, 9), "4+5");
  CHECK_EQUAL(kept(11, 10, 9), "5+4");
  CHECK_EQUAL(kept(10, 10, 0), "0+0");
}
