// Keys and values of earlier tokens, kept for texts that grow call by call.
#pragma once

#include <cstddef>
#include <vector>

#include "native/memory.hpp"
#include "native/program_file.hpp"

namespace bert_export::native {

// Of as many texts as the first call has, each of its own length. One call uses it at a time.
//
// Each text has memory of its own: keys and values of each record, head by head, token behind token.
class Cache {
 public:
  enum class Part : std::uint8_t { keys, values };

  // Empty, of no text yet.
  explicit Cache(const ProgramFile& program);

  // One of no text, for the same programs.
  Cache like() const;

  // Texts that are kept.
  std::size_t texts() const { return texts_.size(); }
  // Tokens of a text that are kept.
  std::size_t length(std::size_t text) const { return texts_[text].length; }
  // Whether it was made for programs with such caches.
  bool fits(const ProgramFile& program) const;

  // Keeps some texts, in this order and as often as they are named. Throws InputError where one is not
  // there or none is named.
  void select(const std::vector<std::size_t>& texts);

  // Makes room for so many more tokens of each text. An empty cache becomes one of these texts. Throws
  // InputError where it is of another number of texts.
  void make_room(const std::vector<std::size_t>& lengths);
  // The tokens for which room was made are there now.
  void grow(const std::vector<std::size_t>& lengths);

  // Keys or values of a head, (length, head_size), and room for those of new tokens behind them.
  void* head(std::size_t record, Part part, std::size_t text, std::size_t head) const;
  // Bytes of one token's numbers in a head.
  std::size_t head_bytes(std::size_t record) const;

  // Keys or values of all tokens of a text as floats, (length, heads * head_size).
  void read(std::size_t record, Part part, std::size_t text, float* floats) const;
  // Stores those of tokens from a place on, for which room was made.
  void write(std::size_t record, Part part, std::size_t text, const float* floats, std::size_t first,
             std::size_t count);

 private:
  Cache() = default;

  struct Text {
    std::size_t length = 0;
    std::size_t room = 0;  // tokens
    Memory memory;
  };
  struct Record {
    std::size_t heads;
    std::size_t head_size;
    Numbers numbers;
    std::size_t first;  // bytes of a token in the records before
  };

  Text with_room(const Text& text, std::size_t room) const;

  std::vector<Record> records_;
  std::size_t token_bytes_ = 0;
  std::vector<Text> texts_;
};

}  // namespace bert_export::native
