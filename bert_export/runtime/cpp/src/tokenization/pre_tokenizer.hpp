// Words of a normalized text: split at whitespace, and every punctuation mark a word of its own.
#pragma once

#include "text/json.hpp"
#include "text/unicode.hpp"
#include "tokenization/characters.hpp"
#include "tokenization/unsupported.hpp"

namespace bert_export::tokenization {

// Reads the field `pre_tokenizer`. Throws Unsupported where it is not BERT's.
inline void check_pre_tokenizer(const text::Json& json) {
  const std::string type =
      json.is_null() ? "none" : json.at("type").string("the pre-tokenizer's type");
  if (type != "BertPreTokenizer") throw Unsupported("pre-tokenizer", "BertPreTokenizer", type);
}

// Calls `visit` with each word.
template <typename Visit>
void for_each_word(Slice normalized, Visit visit) {
  std::size_t open = 0;  // where the word starts that is not closed yet
  const auto close = [&](std::size_t end) {
    if (open < end) visit(normalized.part(open, end));
  };
  for (std::size_t index = 0; index < normalized.size(); ++index) {
    const std::uint16_t flags = text::properties(normalized[index].code).flags;
    if ((flags & (text::whitespace | text::punctuation)) == 0) continue;
    close(index);
    if ((flags & text::whitespace) == 0) visit(normalized.part(index, index + 1));
    open = index + 1;
  }
  close(normalized.size());
}

}  // namespace bert_export::tokenization
