#include "tokenization/characters.hpp"

#include <limits>

#include "bert_export/errors.hpp"
#include "text/printing.hpp"
#include "text/utf8.hpp"

namespace bert_export::tokenization {
namespace {

constexpr std::size_t longest = std::numeric_limits<std::int32_t>::max();

[[noreturn]] void refuse_invalid(std::string_view text, std::size_t place) {
  throw InputError("text " + text::shown(text) + " is not valid Unicode",
                   {"UTF-8", text::shown(text.substr(place, 1)) + " at byte " + std::to_string(place)});
}

}  // namespace

Characters read_characters(std::string_view text) {
  if (text.size() > longest) {
    throw InputError("text is too long", {"at most " + std::to_string(longest) + " bytes",
                                          std::to_string(text.size()) + " bytes"});
  }
  Characters characters;
  characters.reserve(text.size());
  std::uint32_t count = 0;
  for (std::size_t place = 0; place < text.size(); ++count) {
    const text::Decoded decoded = text::decode_at(text, place);
    if (decoded.bytes == 0) refuse_invalid(text, place);
    characters.push_back({decoded.code, {count, count + 1}});
    place += decoded.bytes;
  }
  return characters;
}

std::string spell(Slice characters) {
  std::string spelled;
  for (const Character& character : characters) text::append(spelled, character.code);
  return spelled;
}

ByteOffsets::ByteOffsets(std::string_view text, std::size_t code_points) {
  if (code_points == text.size()) return;
  starts_.reserve(code_points + 1);
  for (std::size_t place = 0; place < text.size(); place += text::decode_at(text, place).bytes) {
    starts_.push_back(static_cast<std::uint32_t>(place));
  }
  starts_.push_back(static_cast<std::uint32_t>(text.size()));
}

Span ByteOffsets::operator()(Span code_points) const {
  if (starts_.empty()) return code_points;
  return {starts_[code_points.begin], starts_[code_points.end]};
}

}  // namespace bert_export::tokenization
