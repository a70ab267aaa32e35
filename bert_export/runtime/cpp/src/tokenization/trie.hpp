// Keys that a text may start with, byte by byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace bert_export::tokenization {

// A trie whose edges lie in one hash table, so that a step costs one look.
class Trie {
 public:
  using Node = std::uint32_t;
  static constexpr Node root = 0;
  // No edge leads on.
  static constexpr Node nowhere = 0xFFFFFFFF;
  // No key ends here.
  static constexpr std::uint32_t no_value = 0xFFFFFFFF;

  Trie();

  // Adds a key; of equal keys the first counts.
  void insert(std::string_view key, std::uint32_t value);

  Node step(Node node, char byte) const noexcept {
    const std::uint64_t wanted = edge_of(node, byte);
    for (std::size_t slot = slot_of(wanted);; slot = (slot + 1) & mask_) {
      if (edges_[slot].key == wanted) return edges_[slot].child;
      if (edges_[slot].key == unused) return nowhere;
    }
  }

  // As a step for each byte that spells a code point.
  Node step(Node node, char32_t code) const noexcept;

  std::uint32_t value(Node node) const noexcept { return values_[node]; }

 private:
  struct Edge {
    std::uint64_t key;
    Node child;
  };
  static constexpr std::uint64_t unused = ~std::uint64_t{0};

  static std::uint64_t edge_of(Node node, char byte) noexcept {
    return std::uint64_t{node} << 8U | static_cast<unsigned char>(byte);
  }
  std::size_t slot_of(std::uint64_t key) const noexcept {
    return static_cast<std::size_t>(key * 0x9E3779B97F4A7C15U >> 32U) & mask_;
  }
  void place(Edge edge);
  void grow();

  std::vector<Edge> edges_;
  std::vector<std::uint32_t> values_;
  std::size_t mask_;
};

}  // namespace bert_export::tokenization
