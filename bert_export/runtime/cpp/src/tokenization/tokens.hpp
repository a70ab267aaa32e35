// The tokens of one text, before special tokens stand around them.
#pragma once

#include <cstdint>
#include <forward_list>
#include <string>
#include <string_view>
#include <vector>

#include "bert_export/encoded.hpp"

namespace bert_export::tokenization {

struct Token {
  std::int64_t id;
  // Of the vocabulary, or of the list that stands beside it.
  std::string_view text;
  Span offsets;
  Span byte_offsets;
  std::int32_t word;
};

struct Tokens {
  std::vector<Token> tokens;
  // Texts of added tokens, which may have taken up whitespace or be normalized.
  std::forward_list<std::string> spelled;

  std::size_t size() const { return tokens.size(); }
};

}  // namespace bert_export::tokenization
