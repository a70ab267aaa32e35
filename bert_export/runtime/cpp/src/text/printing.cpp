#include "text/printing.hpp"

#include <cstdint>

#include "text/unicode.hpp"
#include "text/utf8.hpp"

namespace bert_export::text {
namespace {

constexpr std::size_t most_characters = 60;
constexpr char32_t replacement = 0xFFFD;  // clean_text drops it, but it is seen

bool is_printable(char32_t code) {
  if (code == U' ' || code == replacement) return true;
  return !has(code, control | blank | whitespace);
}

// As Python spells it: \n, \x1b, \u2028 or \U000e0001.
std::string escaped(char32_t code) {
  switch (code) {
    case U'\n': return "\\n";
    case U'\r': return "\\r";
    case U'\t': return "\\t";
    default: break;
  }
  constexpr std::string_view digits = "0123456789abcdef";
  const int width = code < 0x100 ? 2 : code < 0x10000 ? 4 : 8;
  std::string spelled = code < 0x100 ? "\\x" : code < 0x10000 ? "\\u" : "\\U";
  for (int shift = 4 * (width - 1); shift >= 0; shift -= 4) {
    spelled += digits[(code >> static_cast<unsigned>(shift)) & 0xFU];
  }
  return spelled;
}

template <typename Visit>
void for_each_character(std::string_view text, Visit visit) {
  for (std::size_t place = 0; place < text.size();) {
    const Decoded decoded = decode_at(text, place);
    const std::size_t bytes = decoded.bytes == 0 ? 1 : decoded.bytes;
    const char32_t code = decoded.bytes == 0 ? static_cast<unsigned char>(text[place]) : decoded.code;
    const bool plain = decoded.bytes != 0 && is_printable(code);
    if (!visit(code, plain ? std::string(text.substr(place, bytes)) : escaped(code))) return;
    place += bytes;
  }
}

}  // namespace

std::string printable(std::string_view text) {
  std::string line;
  for_each_character(text, [&](char32_t, const std::string& spelled) {
    line += spelled;
    return true;
  });
  return line;
}

std::string shown(std::string_view text) {
  const bool apostrophes = text.find('\'') != text.npos && text.find('"') == text.npos;
  const char quote = apostrophes ? '"' : '\'';
  std::string line(1, quote);
  std::size_t characters = 0;
  bool whole = true;
  for_each_character(text, [&](char32_t code, const std::string& spelled) {
    if (characters++ == most_characters) return whole = false;
    const bool special = code == U'\\' || code == static_cast<unsigned char>(quote);
    line += special ? "\\" + spelled : spelled;
    return true;
  });
  return line + quote + (whole ? "" : "...");
}

}  // namespace bert_export::text
