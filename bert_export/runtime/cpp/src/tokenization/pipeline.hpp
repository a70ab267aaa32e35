// The stages of tokenizer.json in their order: from a text to its tokens.
#pragma once

#include <string_view>

#include "bert_export/tokenizer.hpp"
#include "text/json.hpp"
#include "tokenization/added_vocabulary.hpp"
#include "tokenization/decoder.hpp"
#include "tokenization/normalizer.hpp"
#include "tokenization/post_processor.hpp"
#include "tokenization/tokens.hpp"
#include "tokenization/word_piece.hpp"

namespace bert_export::tokenization {

struct Pipeline {
  // Throws JsonError where the file is malformed, Unsupported where it asks for what is not
  // implemented.
  explicit Pipeline(const text::Json& json);

  // The tokens of a text. Throws InputError where it is not UTF-8.
  Tokens tokenize(std::string_view text) const;
  // The tokens of words; offsets count within each.
  Tokens tokenize(const std::vector<std::string_view>& words) const;

  WordPiece model;
  Normalizer normalizer;
  AddedVocabulary added;
  PostProcessor post_processor;
  Decoder decoder;

 private:
  void append(std::string_view text, std::int32_t word, Tokens& tokens) const;
};

}  // namespace bert_export::tokenization
