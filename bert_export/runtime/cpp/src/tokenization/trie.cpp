#include "tokenization/trie.hpp"

#include "text/utf8.hpp"

namespace bert_export::tokenization {
namespace {

constexpr std::size_t first_slots = 64;

}  // namespace

Trie::Trie() : edges_(first_slots, Edge{unused, nowhere}), values_{no_value}, mask_(first_slots - 1) {}

void Trie::insert(std::string_view key, std::uint32_t value) {
  Node node = root;
  for (const char byte : key) {
    Node next = step(node, byte);
    if (next == nowhere) {
      if (2 * values_.size() > edges_.size()) grow();
      next = static_cast<Node>(values_.size());
      values_.push_back(no_value);
      place({edge_of(node, byte), next});
    }
    node = next;
  }
  if (values_[node] == no_value) values_[node] = value;
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

void Trie::place(Edge edge) {
  std::size_t slot = slot_of(edge.key);
  while (edges_[slot].key != unused) slot = (slot + 1) & mask_;
  edges_[slot] = edge;
}

void Trie::grow() {
  std::vector<Edge> old(2 * edges_.size(), Edge{unused, nowhere});
  old.swap(edges_);
  mask_ = edges_.size() - 1;
  for (const Edge& edge : old) {
    if (edge.key != unused) place(edge);
  }
}

}  // namespace bert_export::tokenization
