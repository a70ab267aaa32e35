// What the library `tokenizers` knows of a code point, which is no version of Unicode.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "text/unicode_tables.hpp"

namespace bert_export::text {

// The bits of scripts/write_unicode_tables.py.
enum Flag : std::uint16_t {
  control = 1,          // clean_text drops it
  blank = 2,            // clean_text makes a space of it
  whitespace = 4,       // splits words, and is stripped beside added tokens
  punctuation = 8,      // is a word of its own
  chinese = 16,         // handle_chinese_chars puts spaces around it
  nonspacing_mark = 32, // strip_accents of BERT's normalizer drops it
  mark = 64,            // the normalizer StripAccents drops it
  word = 128,           // beside it no token with single_word is found
  decomposed = 256,
  lowercased = 512,
};

inline const Properties& properties(char32_t code) noexcept {
  constexpr char32_t block = 256;
  return unicode_records[unicode_kinds[unicode_blocks[code / block] * block + code % block]];
}

inline bool has(char32_t code, std::uint16_t flags) noexcept {
  return (properties(code).flags & flags) != 0;
}

// The code points that another becomes.
struct Sequence {
  std::array<char32_t, 4> codes;
  std::uint8_t count;
};

// The full canonical decomposition of a code point with the flag `decomposed`.
Sequence decompose(char32_t code) noexcept;

// The lower case of a code point with the flag `lowercased`; no context counts, not even a sigma's.
Sequence lower_case(char32_t code) noexcept;

// A text without whitespace at its ends.
std::string_view stripped(std::string_view text) noexcept;

}  // namespace bert_export::text
