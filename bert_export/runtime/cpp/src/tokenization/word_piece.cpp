#include "tokenization/word_piece.hpp"

#include <limits>

#include "text/utf8.hpp"
#include "tokenization/unsupported.hpp"

namespace bert_export::tokenization {
namespace {

constexpr std::int64_t highest_id = std::numeric_limits<std::uint32_t>::max();

Trie::Node follow(const Trie& trie, std::string_view key) {
  Trie::Node node = trie.root();
  for (const char byte : key) {
    if (node == Trie::nowhere) break;
    node = trie.step(node, byte);
  }
  return node;
}

// Files of before models had a type tell it by their fields.
std::string type_of(const text::Json& json) {
  if (const text::Json* const type = json.find("type")) return type->string("the model's type");
  if (json.find("merges") != nullptr) return "BPE";
  return json.find("continuing_subword_prefix") == nullptr ? "a model without a type" : "WordPiece";
}

}  // namespace

WordPiece WordPiece::from_json(const text::Json& json) {
  const std::string type = type_of(json);
  if (type != "WordPiece") throw Unsupported("model", "WordPiece", type);
  WordPiece model;
  model.unk_token_ = json.at("unk_token").string("unk_token");
  model.continuing_prefix_ =
      json.at("continuing_subword_prefix").string("continuing_subword_prefix");
  const std::int64_t most = json.at("max_input_chars_per_word").integer("max_input_chars_per_word");
  if (most < 0) throw text::JsonError("max_input_chars_per_word is below 0");
  model.max_characters_ = static_cast<std::size_t>(most);
  model.read_vocabulary(json.at("vocab"));
  return model;
}

void WordPiece::read_vocabulary(const text::Json& vocabulary) {
  const text::JsonObject& members = vocabulary.object("vocab");
  entries_.reserve(members.size());
  entries_by_id_.reserve(members.size());
  words_ = WordTable(members.size());
  for (const auto& [token, value] : members) {
    const std::int64_t id = value.integer("an id of the vocabulary");
    if (id < 0 || id > highest_id) throw text::JsonError("an id of the vocabulary is out of range");
    const auto entry = static_cast<std::uint32_t>(entries_.size());
    if (!entries_by_id_.emplace(id, entry).second) {
      throw text::JsonError("the id " + std::to_string(id) + " is that of two tokens");
    }
    entries_.push_back({token, id});
    trie_.insert(token, entry);
    words_.insert(token, entry);
  }
  const Trie::Node unknown = follow(trie_, unk_token_);
  if (unknown.value == Trie::no_value) {
    throw text::JsonError("the vocabulary lacks " + unk_token_);
  }
  unk_entry_ = unknown.value;
  continuing_ = follow(trie_, continuing_prefix_);
}

void WordPiece::prefetch(const std::vector<Slice>& words, Spelled* spelled) const {
  for (std::size_t index = 0; index < words.size(); ++index) {
    Spelled& own = spelled[index];
    own.count = 0;
    if (words[index].size() > longest_whole) continue;
    for (const Character& character : words[index]) {
      own.count += text::encode_to(character.code, own.bytes.data() + own.count);
    }
    own.hash = WordTable::hash_of(own.view());
    words_.prefetch(own.hash);
  }
  for (std::size_t index = 0; index < words.size(); ++index) {
    if (spelled[index].count == 0) continue;
    const std::uint32_t entry = words_.first(spelled[index].hash);
    if (entry != WordTable::no_entry) __builtin_prefetch(&entries_[entry]);
  }
}

void WordPiece::tokenize(Slice word, const Spelled& spelled, std::vector<Piece>& pieces) const {
  const std::size_t before = pieces.size();
  const auto give_up = [&] {
    pieces.resize(before);
    pieces.push_back({unk_entry_, 0, word.size()});
  };
  if (word.size() > max_characters_) return give_up();
  if (spelled.count != 0) {
    const std::uint32_t whole = words_.find(
        spelled.hash, [&](std::uint32_t entry) { return token(entry) == spelled.view(); });
    if (whole != WordTable::no_entry) {
      pieces.push_back({whole, 0, word.size()});
      return;
    }
  }
  for (std::size_t begin = 0; begin < word.size();) {
    // The longest entry that starts here.
    std::uint32_t found = Trie::no_value;
    std::size_t end = begin;
    Trie::Node node = begin == 0 ? trie_.root() : continuing_;
    for (std::size_t place = begin; place < word.size() && node != Trie::nowhere; ++place) {
      node = trie_.step(node, word[place].code);
      if (node.value != Trie::no_value) {
        found = node.value;
        end = place + 1;
      }
    }
    if (found == Trie::no_value) return give_up();
    pieces.push_back({found, begin, end});
    begin = end;
  }
}

std::optional<std::int64_t> WordPiece::token_to_id(std::string_view token) const {
  const Trie::Node node = follow(trie_, token);
  if (node.value == Trie::no_value) return std::nullopt;
  return entries_[node.value].id;
}

const std::string* WordPiece::id_to_token(std::int64_t id) const {
  const auto found = entries_by_id_.find(id);
  return found == entries_by_id_.end() ? nullptr : &entries_[found->second].token;
}

}  // namespace bert_export::tokenization
