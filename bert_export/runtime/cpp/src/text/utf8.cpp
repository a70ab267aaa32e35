#include "text/utf8.hpp"

namespace bert_export::text {
namespace {

constexpr std::uint8_t continuation_bits = 6;

bool continues(unsigned char byte) { return (byte & 0xC0U) == 0x80U; }

}  // namespace

Decoded decode_at(std::string_view text, std::size_t place) noexcept {
  const auto byte = [&](std::size_t index) {
    return place + index < text.size() ? static_cast<unsigned char>(text[place + index]) : 0U;
  };
  const unsigned first = byte(0);
  if (first < 0x80) return {first, 1};
  // The length, the payload of the first byte, and the least code point that needs that length.
  std::uint8_t bytes = 0;
  char32_t code = 0;
  char32_t least = 0;
  if ((first & 0xE0U) == 0xC0U) {
    bytes = 2, code = first & 0x1FU, least = 0x80;
  } else if ((first & 0xF0U) == 0xE0U) {
    bytes = 3, code = first & 0x0FU, least = 0x800;
  } else if ((first & 0xF8U) == 0xF0U) {
    bytes = 4, code = first & 0x07U, least = 0x10000;
  } else {
    return {0, 0};
  }
  for (std::size_t index = 1; index < bytes; ++index) {
    const auto next = static_cast<unsigned char>(byte(index));
    if (!continues(next)) return {0, 0};
    code = (code << continuation_bits) | (next & 0x3FU);
  }
  const bool surrogate = code >= 0xD800 && code < 0xE000;
  if (code < least || code > 0x10FFFF || surrogate) return {0, 0};
  return {code, bytes};
}

std::optional<std::size_t> find_invalid(std::string_view text) noexcept {
  for (std::size_t place = 0; place < text.size();) {
    const Decoded decoded = decode_at(text, place);
    if (decoded.bytes == 0) return place;
    place += decoded.bytes;
  }
  return std::nullopt;
}

std::size_t encode_to(char32_t code, char* out) noexcept {
  const auto tail = [code](int shift) {
    return static_cast<char>(0x80U | ((code >> shift) & 0x3FU));
  };
  if (code < 0x80) {
    out[0] = static_cast<char>(code);
    return 1;
  }
  if (code < 0x800) {
    out[0] = static_cast<char>(0xC0U | (code >> 6U));
    out[1] = tail(0);
    return 2;
  }
  if (code < 0x10000) {
    out[0] = static_cast<char>(0xE0U | (code >> 12U));
    out[1] = tail(6);
    out[2] = tail(0);
    return 3;
  }
  out[0] = static_cast<char>(0xF0U | (code >> 18U));
  out[1] = tail(12);
  out[2] = tail(6);
  out[3] = tail(0);
  return 4;
}

void append(std::string& text, char32_t code) {
  char bytes[4];
  text.append(bytes, encode_to(code, bytes));
}

std::size_t length(std::string_view text) noexcept {
  std::size_t count = 0;
  for (const char byte : text) count += continues(static_cast<unsigned char>(byte)) ? 0 : 1;
  return count;
}

std::size_t byte_of(std::string_view text, std::size_t code_point) noexcept {
  std::size_t place = 0;
  for (; place < text.size(); ++place) {
    if (continues(static_cast<unsigned char>(text[place]))) continue;
    if (code_point-- == 0) return place;
  }
  return place;
}

}  // namespace bert_export::text
