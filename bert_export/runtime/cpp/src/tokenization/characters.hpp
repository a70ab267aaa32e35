// A text on its way from code points to words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bert_export/encoded.hpp"

namespace bert_export::tokenization {

// A code point of a text that may be normalized already, and what of the raw text it stands for.
struct Character {
  char32_t code;
  Span span;
  // Whether a code point of the text became several, of which this is not the first.
  bool inserted = false;
};

using Characters = std::vector<Character>;

// A part of characters.
struct Slice {
  const Character* begin_;
  const Character* end_;

  const Character* begin() const { return begin_; }
  const Character* end() const { return end_; }
  std::size_t size() const { return static_cast<std::size_t>(end_ - begin_); }
  bool empty() const { return begin_ == end_; }
  const Character& operator[](std::size_t index) const { return begin_[index]; }
  Slice part(std::size_t from, std::size_t to) const { return {begin_ + from, begin_ + to}; }
};

inline Slice slice_of(const Characters& characters) {
  return {characters.data(), characters.data() + characters.size()};
}

// The raw characters of a text. Throws InputError where it is not UTF-8 or too long to be counted.
Characters read_characters(std::string_view text);

// The characters' code points as UTF-8.
std::string spell(Slice characters);

// What of a text is covered in bytes, from what is covered in code points.
class ByteOffsets {
 public:
  ByteOffsets(std::string_view text, std::size_t code_points);
  Span operator()(Span code_points) const;

 private:
  // The byte at which each code point starts; empty where every one has one byte.
  std::vector<std::uint32_t> starts_;
};

}  // namespace bert_export::tokenization
