// Keys that a text may start with, byte by byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace bert_export::tokenization {

// A trie whose edges lie in one hash table with what their ends hold, so that a step costs one look:
// between two calls a graph has run, and each look waits for memory.
class Trie {
 public:
  // No key ends here.
  static constexpr std::uint32_t no_value = 0xFFFFFFFF;

  // Where the bytes so far lead.
  struct Node {
    std::uint32_t number;
    // Of the key that ends here, or no_value.
    std::uint32_t value;

    bool operator==(Node other) const noexcept { return number == other.number; }
    bool operator!=(Node other) const noexcept { return number != other.number; }
  };
  // No edge leads on.
  static constexpr Node nowhere{0xFFFFFFFF, no_value};

  Trie();

  // Adds a key; of equal keys the first counts.
  void insert(std::string_view key, std::uint32_t value);

  Node step(Node node, char byte) const noexcept {
    const std::uint64_t wanted = edge_of(node, byte);
    for (std::size_t slot = slot_of(wanted);; slot = (slot + 1) & mask_) {
      if (edges_[slot].key == wanted) return edges_[slot].end;
      if (edges_[slot].key == unused) return nowhere;
    }
  }

  // As a step for each byte that spells a code point.
  Node step(Node node, char32_t code) const noexcept;

  // Before any byte.
  Node root() const noexcept { return root_; }

 private:
  struct Edge {
    std::uint64_t key;
    Node end;
  };
  static constexpr std::uint64_t unused = ~std::uint64_t{0};

  static std::uint64_t edge_of(Node node, char byte) noexcept {
    return std::uint64_t{node.number} << 8U | static_cast<unsigned char>(byte);
  }
  std::size_t slot_of(std::uint64_t key) const noexcept {
    return static_cast<std::size_t>(key * 0x9E3779B97F4A7C15U >> 32U) & mask_;
  }
  Edge& find(std::uint64_t key) noexcept;
  void grow();

  std::vector<Edge> edges_;
  std::size_t mask_;
  Node root_{0, no_value};
  std::uint32_t nodes_ = 1;
};

}  // namespace bert_export::tokenization
