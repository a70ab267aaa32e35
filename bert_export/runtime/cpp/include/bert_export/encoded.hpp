// A row as a tokenizer made it, without the tokenizer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace bert_export {

// The first place that is covered, and the one behind the last.
struct Span {
  std::uint32_t begin = 0;
  std::uint32_t end = 0;

  friend bool operator==(Span left, Span right) {
    return left.begin == right.begin && left.end == right.end;
  }
};

// Stands where Python has None: a special token is of no word and of no text.
inline constexpr std::int32_t none = -1;

// What a tokenizer says of the S tokens of a row. Every vector has S entries.
struct Encoded {
  std::vector<std::int64_t> ids;
  // 0 for the first text and its special tokens, 1 for the second's.
  std::vector<std::int64_t> type_ids;
  // Texts of the tokens, as the vocabulary has them.
  std::vector<std::string> tokens;
  // What of its own text (or word, where it came split) a token covers, in code points; empty at 0
  // for a special token.
  std::vector<Span> offsets;
  // The same in bytes of UTF-8.
  std::vector<Span> byte_offsets;
  // Which word of its text a token belongs to.
  std::vector<std::int32_t> word_ids;
  // Which text a token belongs to, 0 or 1.
  std::vector<std::int32_t> sequence_ids;
  // 1 for a token that the tokenizer added, 0 for any other.
  std::vector<std::uint8_t> special_tokens_mask;

  std::size_t size() const { return ids.size(); }
};

}  // namespace bert_export
