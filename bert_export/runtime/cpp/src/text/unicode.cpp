#include "text/unicode.hpp"

#include <algorithm>

#include "text/utf8.hpp"

namespace bert_export::text {
namespace {

constexpr char32_t first_syllable = 0xAC00;
constexpr char32_t syllables = 11172;

Sequence look_up(char32_t code, const Mapping* mappings, std::size_t count, const char32_t* pool) {
  const Mapping* const end = mappings + count;
  const Mapping* const found = std::lower_bound(
      mappings, end, code, [](const Mapping& mapping, char32_t value) { return mapping.from < value; });
  if (found == end || found->from != code) return {{code}, 1};
  Sequence sequence{{}, found->count};
  std::copy_n(pool + found->start, found->count, sequence.codes.begin());
  return sequence;
}

// Leading consonant, vowel and perhaps a final consonant (Unicode, section 3.12).
Sequence jamo_of(char32_t syllable) {
  const char32_t index = syllable - first_syllable;
  const char32_t final_consonant = index % 28;
  return {{0x1100 + index / 588, 0x1161 + index % 588 / 28, 0x11A7 + final_consonant},
          static_cast<std::uint8_t>(final_consonant == 0 ? 2 : 3)};
}

}  // namespace

Sequence decompose(char32_t code) noexcept {
  if (code >= first_syllable && code < first_syllable + syllables) return jamo_of(code);
  return look_up(code, decomposition_mappings, decomposition_count, decomposition_pool);
}

Sequence lower_case(char32_t code) noexcept {
  return look_up(code, lower_case_mappings, lower_case_count, lower_case_pool);
}

std::string_view stripped(std::string_view text) noexcept {
  std::size_t begin = text.size();
  std::size_t end = 0;
  for (std::size_t place = 0; place < text.size();) {
    const Decoded decoded = decode_at(text, place);
    const std::size_t bytes = decoded.bytes == 0 ? 1 : decoded.bytes;
    if (decoded.bytes == 0 || !has(decoded.code, whitespace)) {
      begin = begin < place ? begin : place;
      end = place + bytes;
    }
    place += bytes;
  }
  return begin < end ? text.substr(begin, end - begin) : std::string_view();
}

}  // namespace bert_export::text
