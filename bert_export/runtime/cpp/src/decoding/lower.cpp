#include "decoding/lower.hpp"

#include "text/unicode.hpp"
#include "text/utf8.hpp"

namespace bert_export::decoding {

std::string lower(std::string_view text) {
  std::string lowered;
  for (std::size_t place = 0; place < text.size();) {
    const text::Decoded decoded = text::decode_at(text, place);
    if (decoded.bytes == 0) break;
    const text::Sequence sequence = text::lower_case(decoded.code);
    for (std::uint8_t index = 0; index < sequence.count; ++index) {
      text::append(lowered, sequence.codes[index]);
    }
    place += decoded.bytes;
  }
  return lowered;
}

}  // namespace bert_export::decoding
