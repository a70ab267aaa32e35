// Which entry of the vocabulary a whole word is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace bert_export::tokenization {

// A hash table that is small enough to be read from memory at once: most words are entries, and a
// trie waits for memory at each of their bytes.
class WordTable {
 public:
  static constexpr std::uint32_t no_entry = 0xFFFFFFFF;

  // Of so many words at most.
  explicit WordTable(std::size_t words = 0) {
    std::size_t slots = 2;
    while (slots < 2 * words) slots *= 2;
    slots_.resize(slots, {0, no_entry});
  }

  // Adds a word that is not there yet.
  void insert(std::string_view word, std::uint32_t entry) {
    const std::uint32_t hash = hash_of(word);
    std::size_t slot = hash & (slots_.size() - 1);
    while (slots_[slot].entry != no_entry) slot = (slot + 1) & (slots_.size() - 1);
    slots_[slot] = {hash, entry};
  }

  // The entry for which `is_word` holds, or no_entry; it is asked of those with the word's hash.
  template <typename IsWord>
  std::uint32_t find(std::uint32_t hash, const IsWord& is_word) const {
    for (std::size_t slot = hash & (slots_.size() - 1);; slot = (slot + 1) & (slots_.size() - 1)) {
      const Slot& own = slots_[slot];
      if (own.entry == no_entry || (own.hash == hash && is_word(own.entry))) return own.entry;
    }
  }

  // The first entry that find would ask about, as a rule the word's; no_entry where there is none.
  std::uint32_t first(std::uint32_t hash) const { return slots_[hash & (slots_.size() - 1)].entry; }

  // Fetches the place where find starts.
  void prefetch(std::uint32_t hash) const {
    __builtin_prefetch(&slots_[hash & (slots_.size() - 1)]);
  }

  // FNV-1a (Fowler, Noll and Vo).
  static std::uint32_t hash_of(std::string_view word) noexcept {
    std::uint32_t hash = 2166136261U;
    for (const char byte : word) hash = (hash ^ static_cast<unsigned char>(byte)) * 16777619U;
    return hash ^ hash >> 16U;
  }

 private:
  struct Slot {
    std::uint32_t hash;
    std::uint32_t entry;
  };

  std::vector<Slot> slots_;
};

}  // namespace bert_export::tokenization
