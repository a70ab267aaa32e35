// The generated tables; unicode.hpp is how they are read.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bert_export::text {

// What the library `tokenizers` does with a code point: a sum of Flag, and its combining class.
struct Properties {
  std::uint16_t flags;
  std::uint8_t combining_class;
};

// A code point that becomes others: `count` of them, from `start` in a pool.
struct Mapping {
  char32_t from;
  std::uint16_t start;
  std::uint8_t count;
};

// The record of a code point c is unicode_records[unicode_kinds[unicode_blocks[c / 256] * 256 +
// c % 256]].
extern const Properties unicode_records[];
extern const std::uint8_t unicode_blocks[];
extern const std::uint8_t unicode_kinds[];

// In the order of `from`; Hangul syllables are left out, which arithmetic decomposes.
extern const Mapping decomposition_mappings[];
extern const std::size_t decomposition_count;
extern const char32_t decomposition_pool[];

extern const Mapping lower_case_mappings[];
extern const std::size_t lower_case_count;
extern const char32_t lower_case_pool[];

}  // namespace bert_export::text
