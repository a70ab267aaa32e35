#include "json_writer.hpp"

#include <charconv>

namespace tests {

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

std::string to_json(float number) {
  char digits[32];
  return {digits, std::to_chars(digits, digits + sizeof(digits), number).ptr};
}

std::string to_json(double number) {
  char digits[32];
  return {digits, std::to_chars(digits, digits + sizeof(digits), number).ptr};
}

std::string to_json(bert_export::Span span) {
  return "[" + std::to_string(span.begin) + "," + std::to_string(span.end) + "]";
}

std::string to_json(const bert_export::Encoded& row) {
  return "{\"ids\":" + to_json(row.ids) + ",\"type_ids\":" + to_json(row.type_ids) +
         ",\"tokens\":" + to_json(row.tokens) + ",\"offsets\":" + to_json(row.offsets) +
         ",\"byte_offsets\":" + to_json(row.byte_offsets) + ",\"word_ids\":" + to_json(row.word_ids) +
         ",\"sequence_ids\":" + to_json(row.sequence_ids) +
         ",\"special_tokens_mask\":" + to_json(row.special_tokens_mask) + "}";
}

}  // namespace tests
