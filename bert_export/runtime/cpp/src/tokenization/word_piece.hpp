// The vocabulary, and the longest tokens that make up a word.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/json.hpp"
#include "tokenization/characters.hpp"
#include "tokenization/trie.hpp"
#include "tokenization/word_table.hpp"

namespace bert_export::tokenization {

class WordPiece {
 public:
  // A token of a word: which entry of the vocabulary it is, and which characters it covers.
  struct Piece {
    std::uint32_t entry;
    std::size_t begin;
    std::size_t end;
  };

  // Reads the field `model`. Throws JsonError where it is malformed, Unsupported where it is of
  // another kind.
  static WordPiece from_json(const text::Json& json);

  // Words that are tokenized at once at most: they wait for memory together, which takes little
  // longer than one alone.
  static constexpr std::size_t together = 16;

  // Calls `visit` with each word and its tokens: the unknown token alone where a rest fits no entry,
  // or where the word has too many characters.
  template <typename Visit>
  void tokenize(const std::vector<Slice>& words, const Visit& visit) const {
    std::array<Spelled, together> spelled;
    prefetch(words, spelled.data());
    std::vector<Piece> pieces;
    for (std::size_t index = 0; index < words.size(); ++index) {
      pieces.clear();
      tokenize(words[index], spelled[index], pieces);
      visit(words[index], pieces);
    }
  }

  std::optional<std::int64_t> token_to_id(std::string_view token) const;
  // nullptr where no token has that id.
  const std::string* id_to_token(std::int64_t id) const;

  const std::string& token(std::uint32_t entry) const { return entries_[entry].token; }
  std::int64_t id(std::uint32_t entry) const { return entries_[entry].id; }
  std::size_t size() const { return entries_.size(); }
  const std::string& unk_token() const { return unk_token_; }
  const std::string& continuing_prefix() const { return continuing_prefix_; }

 private:
  struct Entry {
    std::string token;
    std::int64_t id;
  };

  // Characters of the longest word that is looked up whole.
  static constexpr std::size_t longest_whole = 32;

  // A word as it is looked up whole; empty where it is too long for that.
  struct Spelled {
    std::array<char, 4 * longest_whole> bytes;
    std::size_t count;
    std::uint32_t hash;

    std::string_view view() const { return {bytes.data(), count}; }
  };

  void read_vocabulary(const text::Json& vocabulary);
  // Spells words, and fetches what the vocabulary has of them.
  void prefetch(const std::vector<Slice>& words, Spelled* spelled) const;
  void tokenize(Slice word, const Spelled& spelled, std::vector<Piece>& pieces) const;

  std::string unk_token_;
  std::string continuing_prefix_;
  std::size_t max_characters_ = 0;
  // In the order of the file.
  std::vector<Entry> entries_;
  std::unordered_map<std::int64_t, std::uint32_t> entries_by_id_;
  WordTable words_;
  Trie trie_;
  // Where tokens that continue a word start.
  Trie::Node continuing_ = Trie::nowhere;
  std::uint32_t unk_entry_ = 0;
};

}  // namespace bert_export::tokenization
