// Tokens that are found whole in a text, before it is normalized or after.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/json.hpp"
#include "tokenization/characters.hpp"
#include "tokenization/normalizer.hpp"
#include "tokenization/trie.hpp"
#include "tokenization/word_piece.hpp"

namespace bert_export::tokenization {

struct AddedToken {
  std::string content;
  std::int64_t id = 0;
  // Whether it is found only where no letter, digit or underscore stands beside it.
  bool single_word = false;
  // Whether it takes up the whitespace before it, and behind it.
  bool lstrip = false;
  bool rstrip = false;
  // Whether it is looked for in the normalized text.
  bool normalized = false;
  // Whether decoding leaves it out.
  bool special = false;
};

class AddedVocabulary {
 public:
  // A part of a text: plain, or an added token.
  struct Part {
    Slice characters;
    const AddedToken* token;  // nullptr: plain
  };

  // Reads the field `added_tokens`; ids are given as `tokenizers` does. Throws JsonError where it
  // is malformed or its ids are others.
  static AddedVocabulary from_json(const text::Json& json, const WordPiece& model,
                                   const Normalizer& normalizer);

  // Keeps a token of the vocabulary whole in texts, unless it is added already.
  void mark_special(const std::string& content, const WordPiece& model);

  // Splits a raw text, or a normalized one, at the tokens that are looked for there.
  void split_raw(Slice raw, std::vector<Part>& parts) const { split(raw, raw_, parts); }
  void split_normalized(Slice normalized, std::vector<Part>& parts) const {
    split(normalized, normalized_, parts);
  }

  std::optional<std::int64_t> token_to_id(std::string_view token) const;
  // nullptr where no added token has that id.
  const AddedToken* find(std::int64_t id) const;
  bool is_special(std::string_view token) const;
  // How many of the tokens are not in the model's vocabulary.
  std::size_t beyond(const WordPiece& model) const;

 private:
  // What is looked for, and the bytes that it may start with.
  struct Patterns {
    Trie trie;
    std::vector<bool> openings = std::vector<bool>(256, false);
    bool empty = true;

    void add(std::string_view pattern, std::uint32_t index);
  };

  void add(AddedToken token, const WordPiece& model, const Normalizer& normalizer);
  void split(Slice characters, const Patterns& patterns, std::vector<Part>& parts) const;

  std::vector<AddedToken> tokens_;
  std::unordered_map<std::string, std::uint32_t> by_content_;
  std::unordered_map<std::int64_t, std::uint32_t> by_id_;
  std::int64_t highest_id_ = -1;
  Patterns raw_;
  Patterns normalized_;
};

}  // namespace bert_export::tokenization
