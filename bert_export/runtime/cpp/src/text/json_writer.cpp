#include "text/json_writer.hpp"

#include <charconv>
#include <cmath>

namespace bert_export::text {
namespace {

template <typename Number>
std::string digits_of(Number number) {
  if (!std::isfinite(number)) return "null";
  char digits[32];
  return {digits, std::to_chars(digits, digits + sizeof(digits), number).ptr};
}

}  // namespace

std::string to_json(std::string_view text) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string quoted = "\"";
  for (const char byte : text) {
    const auto code = static_cast<unsigned char>(byte);
    if (byte == '"' || byte == '\\') {
      quoted += '\\';
      quoted += byte;
    } else if (code < 0x20) {
      quoted += "\\u00";
      quoted += digits[code >> 4U];
      quoted += digits[code & 15U];
    } else {
      quoted += byte;
    }
  }
  return quoted + "\"";
}

std::string to_json(float number) { return digits_of(number); }
std::string to_json(double number) { return digits_of(number); }

}  // namespace bert_export::text
