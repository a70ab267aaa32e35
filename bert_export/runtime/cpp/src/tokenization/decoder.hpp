// From tokens back to the text that they spell.
#pragma once

#include <string>
#include <vector>

#include "text/json.hpp"

namespace bert_export::tokenization {

class Decoder {
 public:
  // Reads the field `decoder`. Throws JsonError where it is malformed, Unsupported where it is of
  // another kind than WordPiece.
  static Decoder from_json(const text::Json& json);

  std::string decode(const std::vector<std::string>& tokens) const;

 private:
  // Whether the file has none, so that spaces stand between all tokens.
  bool plain_ = false;
  std::string prefix_;
  bool cleanup_ = false;
};

// Removes spaces before English punctuation and contractions: what the Python package does beyond
// the decoder of tokenizer.json.
std::string clean_up_spaces(std::string text);

}  // namespace bert_export::tokenization
