// UTF-8: code points out of bytes, bytes out of code points, and the refusal of what is neither.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace bert_export::text {

// A code point, and how many bytes spell it.
struct Decoded {
  char32_t code;
  std::uint8_t bytes;
};

// The code point at a place; of no bytes where none is: no overlong form, no surrogate and nothing
// above U+10FFFF is one.
Decoded decode_at(std::string_view text, std::size_t place) noexcept;

// Where the first byte stands that is not UTF-8.
std::optional<std::size_t> find_invalid(std::string_view text) noexcept;

// Writes a code point's one to four bytes, and tells how many.
std::size_t encode_to(char32_t code, char* out) noexcept;

void append(std::string& text, char32_t code);

// How many code points a valid text has.
std::size_t length(std::string_view text) noexcept;

// The byte at which the n-th code point of a valid text starts.
std::size_t byte_of(std::string_view text, std::size_t code_point) noexcept;

}  // namespace bert_export::text
