#include "tokenization/trie.hpp"

#include "text/utf8.hpp"

namespace bert_export::tokenization {
namespace {

constexpr std::size_t first_slots = 64;

}  // namespace

Trie::Trie() : edges_(first_slots, Edge{unused, nowhere}), mask_(first_slots - 1) {}

void Trie::insert(std::string_view key, std::uint32_t value) {
  // No more than half of the slots are in use.
  while (2 * (std::size_t{nodes_} + key.size()) > edges_.size()) grow();
  Node* node = &root_;
  for (const char byte : key) {
    Edge& edge = find(edge_of(*node, byte));
    if (edge.key == unused) edge = {edge_of(*node, byte), {nodes_++, no_value}};
    node = &edge.end;
  }
  if (node->value == no_value) node->value = value;
}

Trie::Node Trie::step(Node node, char32_t code) const noexcept {
  if (code < 0x80) return step(node, static_cast<char>(code));
  char bytes[4];
  const std::size_t count = text::encode_to(code, bytes);
  for (std::size_t index = 0; index < count && node != nowhere; ++index) {
    node = step(node, bytes[index]);
  }
  return node;
}

// The edge of a key, or the slot where it belongs.
Trie::Edge& Trie::find(std::uint64_t key) noexcept {
  std::size_t slot = slot_of(key);
  while (edges_[slot].key != key && edges_[slot].key != unused) slot = (slot + 1) & mask_;
  return edges_[slot];
}

void Trie::grow() {
  std::vector<Edge> old(2 * edges_.size(), Edge{unused, nowhere});
  old.swap(edges_);
  mask_ = edges_.size() - 1;
  for (const Edge& edge : old) {
    if (edge.key != unused) find(edge.key) = edge;
  }
}

}  // namespace bert_export::tokenization
