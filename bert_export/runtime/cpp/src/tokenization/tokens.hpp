// The tokens of one text, before special tokens stand around them.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "bert_export/encoded.hpp"

namespace bert_export::tokenization {

struct Token {
  std::int64_t id;
  // As the vocabulary has it. An added token's is its own, whatever whitespace or case it took up in
  // the text, where `tokenizers` gives what the text has.
  std::string_view text;
  Span offsets;
  Span byte_offsets;
  std::int32_t word;
};

struct Tokens {
  std::vector<Token> tokens;
  std::size_t size() const { return tokens.size(); }
};

}  // namespace bert_export::tokenization
