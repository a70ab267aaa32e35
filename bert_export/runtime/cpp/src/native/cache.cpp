#include "native/cache.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "bert_export/errors.hpp"
#include "native/bf16.hpp"

namespace bert_export::native {
namespace {

// Every head's tokens begin at a line of the processor's caches.
constexpr std::size_t room_multiple = 64;

}  // namespace

Cache::Cache(const ProgramFile& program) {
  for (const CacheRecord& record : program.caches) {
    records_.push_back({record.heads, record.head_size, record.numbers, token_bytes_});
    token_bytes_ += 2 * record.heads * record.head_size * bytes_of(record.numbers);
  }
}

Cache Cache::like() const {
  Cache empty;
  empty.records_ = records_;
  empty.token_bytes_ = token_bytes_;
  return empty;
}

bool Cache::fits(const ProgramFile& program) const {
  return std::equal(records_.begin(), records_.end(), program.caches.begin(), program.caches.end(),
                    [](const Record& own, const CacheRecord& other) {
                      return own.heads == other.heads && own.head_size == other.head_size &&
                             own.numbers == other.numbers;
                    });
}

Cache::Text Cache::with_room(const Text& text, std::size_t room) const {
  Text larger;
  larger.length = text.length;
  larger.room = rounded_up(room, room_multiple);
  larger.memory = Memory(larger.room * token_bytes_);
  if (text.length == 0) return larger;
  auto* to = static_cast<std::uint8_t*>(larger.memory.data());
  const auto* from = static_cast<const std::uint8_t*>(text.memory.data());
  for (const Record& record : records_) {
    const std::size_t bytes = record.head_size * bytes_of(record.numbers);
    for (std::size_t head = 0; head < 2 * record.heads; ++head) {
      std::memcpy(to, from, text.length * bytes);
      to += larger.room * bytes;
      from += text.room * bytes;
    }
  }
  return larger;
}

void Cache::select(const std::vector<std::size_t>& texts) {
  if (texts.empty()) throw InputError("a cache of no text is asked for", {"one or more", "none"});
  std::vector<std::size_t> uses(texts_.size(), 0);
  for (const std::size_t text : texts) {
    if (text >= texts_.size()) {
      throw InputError("cache has no text " + std::to_string(text),
                       {"less than " + std::to_string(texts_.size()), std::to_string(text)});
    }
    ++uses[text];
  }
  // All but the last that ask for a text get a copy, and the last its memory.
  std::vector<Text> kept(texts.size());
  for (std::size_t place = 0; place < texts.size(); ++place) {
    const Text& own = texts_[texts[place]];
    if (--uses[texts[place]] > 0) kept[place] = with_room(own, own.room);
  }
  for (std::size_t place = texts.size(); place-- > 0;) {
    if (kept[place].room == 0) kept[place] = std::move(texts_[texts[place]]);
  }
  texts_ = std::move(kept);
}

void Cache::make_room(const std::vector<std::size_t>& lengths) {
  const bool empty = std::all_of(texts_.begin(), texts_.end(),
                                 [](const Text& text) { return text.length == 0; });
  if (empty) texts_.resize(lengths.size());
  if (texts_.size() != lengths.size()) {
    throw InputError("cache is of other texts",
                     {std::to_string(lengths.size()) + " texts", std::to_string(texts_.size())});
  }
  for (std::size_t text = 0; text < lengths.size(); ++text) {
    Text& own = texts_[text];
    const std::size_t needed = own.length + lengths[text];
    if (needed <= own.room) continue;
    own = with_room(own, needed + std::max(needed / 2, room_multiple));
  }
}

void Cache::grow(const std::vector<std::size_t>& lengths) {
  for (std::size_t text = 0; text < lengths.size(); ++text) texts_[text].length += lengths[text];
}

void* Cache::head(std::size_t record, Part part, std::size_t text, std::size_t head) const {
  const Record& own = records_[record];
  const std::size_t place = part == Part::keys ? head : own.heads + head;
  return static_cast<std::uint8_t*>(texts_[text].memory.data()) +
         (own.first + place * head_bytes(record)) * texts_[text].room;
}

std::size_t Cache::head_bytes(std::size_t record) const {
  return records_[record].head_size * bytes_of(records_[record].numbers);
}

void Cache::read(std::size_t record, Part part, std::size_t text, float* floats) const {
  const Record& own = records_[record];
  const std::size_t width = own.heads * own.head_size;
  for (std::size_t head_index = 0; head_index < own.heads; ++head_index) {
    const void* const from = head(record, part, text, head_index);
    for (std::size_t number = 0; number < length(text) * own.head_size; ++number) {
      const std::size_t place = number / own.head_size * width + head_index * own.head_size +
                                number % own.head_size;
      floats[place] = own.numbers == Numbers::bf16
                          ? from_bf16(static_cast<const std::uint16_t*>(from)[number])
                          : static_cast<const float*>(from)[number];
    }
  }
}

void Cache::write(std::size_t record, Part part, std::size_t text, const float* floats,
                  std::size_t first, std::size_t count) {
  const Record& own = records_[record];
  const std::size_t width = own.heads * own.head_size;
  for (std::size_t head_index = 0; head_index < own.heads; ++head_index) {
    void* const to = head(record, part, text, head_index);
    for (std::size_t number = 0; number < count * own.head_size; ++number) {
      const float given = floats[number / own.head_size * width + head_index * own.head_size +
                                 number % own.head_size];
      const std::size_t place = first * own.head_size + number;
      if (own.numbers == Numbers::bf16) {
        static_cast<std::uint16_t*>(to)[place] = to_bf16(given);
      } else {
        static_cast<float*>(to)[place] = given;
      }
    }
  }
}

}  // namespace bert_export::native
