#include "text/printing.hpp"

#include <charconv>
#include <cstdint>
#include <sstream>

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

// Calls `visit` with each code point, and with how it is printed.
template <typename Visit>
void for_each_character(std::string_view text, Visit visit) {
  for (std::size_t place = 0; place < text.size();) {
    const Decoded decoded = decode_at(text, place);
    const std::size_t bytes = decoded.bytes == 0 ? 1 : decoded.bytes;
    const char32_t code = decoded.bytes == 0 ? static_cast<unsigned char>(text[place]) : decoded.code;
    const bool plain = decoded.bytes != 0 && is_printable(code);
    visit(code, plain ? std::string(text.substr(place, bytes)) : escaped(code));
    place += bytes;
  }
}

// A text between quotes, as Python's repr.
std::string quoted(std::string_view text) {
  const bool apostrophes = text.find('\'') != text.npos && text.find('"') == text.npos;
  const char quote = apostrophes ? '"' : '\'';
  std::string line(1, quote);
  for_each_character(text, [&](char32_t code, const std::string& spelled) {
    const bool special = code == U'\\' || code == static_cast<unsigned char>(quote);
    line += special ? "\\" + spelled : spelled;
  });
  return line + quote;
}

std::string cut(std::string line) {
  const std::size_t end = byte_of(line, most_characters);
  return end < line.size() ? line.substr(0, end) + "..." : line;
}

}  // namespace

std::string printable(std::string_view text) {
  std::string line;
  for_each_character(text, [&](char32_t, const std::string& spelled) { line += spelled; });
  return line;
}

std::string shown(std::string_view text) {
  const std::string_view start = text.substr(0, byte_of(text, most_characters));
  return start.size() < text.size() ? quoted(start) + "..." : cut(quoted(text));
}

std::string one_line(const std::string& text) {
  std::istringstream words(text);
  std::string line;
  for (std::string word; words >> word;) line += (line.empty() ? "" : " ") + word;
  return line;
}

std::string shown(double number) {
  char digits[32];
  const std::string text(digits, std::to_chars(digits, digits + sizeof(digits), number).ptr);
  return text.find_first_of(".en") == text.npos ? text + ".0" : text;
}

std::string shown(const std::vector<std::string_view>& texts, std::string_view brackets) {
  std::string line(brackets.substr(0, 1));
  for (const std::string_view text : texts) line += (line.size() > 1 ? ", " : "") + quoted(text);
  return cut(line.append(brackets.substr(1)));
}

}  // namespace bert_export::text
