// Any bytes are a tokenizer.json or a TokenizerError; what opens encodes any bytes, or throws an
// InputError, and keeps its promises about the row.
//
// What begins with `{` is a tokenizer.json. Anything else is two bytes of options, then a text, and
// its pair behind a zero.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "bert_export/errors.hpp"
#include "bert_export/tokenizer.hpp"
#include "bundle/files.hpp"

namespace {

using bert_export::EncodeOptions;
using bert_export::Encoded;
using bert_export::Text;
using bert_export::Tokenizer;
using bert_export::TokenizerRecord;
using bert_export::Truncation;

constexpr std::string_view nasty =
    "New York \xc3\xa9\xcc\x81 \xe6\x96\x87\xed\x95\x9c [MASK]\xc2\xa0\x1f" "a-b \xf0\x9f\x98\x80";

const Tokenizer& known(bool cased) {
  static const auto open = [](const char* name) {
    std::string json;
    const std::string path = std::string(FUZZ_TOKENIZERS) + "/" + name;
    const std::string wrong =
        bert_export::bundle::read_chunks(path, [&](std::string_view part) { json += part; });
    if (!wrong.empty()) std::abort();
    return new Tokenizer(Tokenizer::from_json(json, TokenizerRecord{}));
  };
  static const Tokenizer& lower = *open("seed-uncased.json");
  static const Tokenizer& mixed = *open("seed-cased.json");
  return cased ? mixed : lower;
}

void check(const Encoded& row, const Text& text) {
  const std::size_t size = row.size();
  if (row.type_ids.size() != size || row.tokens.size() != size || row.offsets.size() != size ||
      row.byte_offsets.size() != size || row.word_ids.size() != size ||
      row.sequence_ids.size() != size || row.special_tokens_mask.size() != size) {
    std::abort();
  }
  for (std::size_t index = 0; index < size; ++index) {
    const std::int32_t owner = row.sequence_ids[index];
    if (owner < 0) continue;
    const std::size_t bytes = text.parts.at(static_cast<std::size_t>(owner)).size();
    const bert_export::Span place = row.byte_offsets[index];
    if (place.begin > place.end || place.end > bytes) std::abort();
  }
}

void encode(const Tokenizer& tokenizer, const Text& text, const EncodeOptions& options) {
  try {
    for (const Encoded& row : tokenizer.encode(text, options)) {
      check(row, text);
      tokenizer.decode(row.ids);
    }
  } catch (const bert_export::InputError&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (!bytes.empty() && bytes.front() == '{') {
    try {
      const Tokenizer tokenizer = Tokenizer::from_json(bytes, TokenizerRecord{});
      encode(tokenizer, Text(nasty), {});
      encode(tokenizer, Text(nasty, nasty), {});
    } catch (const bert_export::TokenizerError&) {
    }
    return 0;
  }
  if (size < 2) return 0;
  EncodeOptions options;
  if ((data[0] & 1U) != 0) options.max_length = 2 + data[1] % 32;
  options.stride = (data[0] >> 1U) % 4;
  options.windows = (data[0] & 8U) != 0;
  options.truncation = static_cast<Truncation>((data[0] >> 4U) % 4);
  options.add_special_tokens = (data[0] & 64U) == 0;
  const std::string_view text = bytes.substr(2);
  const std::size_t cut = text.find('\0');
  const Tokenizer& tokenizer = known((data[0] & 128U) != 0);
  encode(tokenizer, cut == text.npos ? Text(text) : Text(text.substr(0, cut), text.substr(cut + 1)),
         options);
  return 0;
}
