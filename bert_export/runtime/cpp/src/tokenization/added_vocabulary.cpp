#include "tokenization/added_vocabulary.hpp"

#include <algorithm>

#include "text/unicode.hpp"
#include "text/utf8.hpp"

namespace bert_export::tokenization {
namespace {

bool is_word(const Character& character) { return text::has(character.code, text::word); }

bool is_whitespace(const Character& character) {
  return text::has(character.code, text::whitespace);
}

Characters normalized_content(const std::string& content, const Normalizer& normalizer) {
  const Characters raw = read_characters(content);
  return normalizer.normalize(slice_of(raw));
}

AddedToken read_token(const text::Json& json) {
  AddedToken token;
  token.content = json.at("content").string("an added token's content");
  token.id = json.at("id").integer("an added token's id");
  token.single_word = json.at("single_word").boolean("single_word");
  token.lstrip = json.at("lstrip").boolean("lstrip");
  token.rstrip = json.at("rstrip").boolean("rstrip");
  token.normalized = json.at("normalized").boolean("normalized");
  token.special = json.at("special").boolean("special");
  return token;
}

}  // namespace

void AddedVocabulary::Patterns::add(std::string_view pattern, std::uint32_t index) {
  if (pattern.empty()) throw text::JsonError("an added token is empty once it is normalized");
  trie.insert(pattern, index);
  openings[static_cast<unsigned char>(pattern.front())] = true;
  empty = false;
}

AddedVocabulary AddedVocabulary::from_json(const text::Json& json, const WordPiece& model,
                                           const Normalizer& normalizer) {
  AddedVocabulary vocabulary;
  if (json.is_null()) return vocabulary;
  for (const text::Json& entry : json.array("added_tokens")) {
    AddedToken token = read_token(entry);
    if (token.content.empty() || vocabulary.by_content_.count(token.content) != 0) continue;
    vocabulary.add(std::move(token), model, normalizer);
  }
  return vocabulary;
}

void AddedVocabulary::mark_special(const std::string& content, const WordPiece& model) {
  const std::optional<std::int64_t> id = model.token_to_id(content);
  if (!id || content.empty() || by_content_.count(content) != 0) return;
  AddedToken token;
  token.content = content;
  token.id = *id;
  token.special = true;
  add(std::move(token), model, Normalizer());
}

void AddedVocabulary::add(AddedToken token, const WordPiece& model, const Normalizer& normalizer) {
  const auto size = static_cast<std::int64_t>(model.size());
  const std::int64_t id =
      model.token_to_id(token.content).value_or(std::max(highest_id_ + 1, size));
  if (id != token.id) {
    throw text::JsonError("the id of the added token " + token.content + " is " +
                          std::to_string(token.id) + " and not the next, " + std::to_string(id));
  }
  const auto index = static_cast<std::uint32_t>(tokens_.size());
  if (token.normalized) {
    const Characters content = normalized_content(token.content, normalizer);
    normalized_.add(spell(slice_of(content)), index);
  } else {
    raw_.add(token.content, index);
  }
  highest_id_ = std::max(highest_id_, id);
  by_content_.emplace(token.content, index);
  by_id_.emplace(id, index);
  tokens_.push_back(std::move(token));
}

void AddedVocabulary::split(Slice characters, const Patterns& patterns,
                            std::vector<Part>& parts) const {
  const std::size_t size = characters.size();
  std::size_t open = 0;  // where the part starts that is not closed yet
  const auto push = [&](std::size_t begin, std::size_t end, const AddedToken* token) {
    if (begin < end) parts.push_back({characters.part(begin, end), token});
  };
  for (std::size_t place = 0; place < size && !patterns.empty;) {
    char bytes[4];
    text::encode_to(characters[place].code, bytes);
    if (!patterns.openings[static_cast<unsigned char>(bytes[0])]) {
      ++place;
      continue;
    }
    // The longest token that starts here.
    std::uint32_t found = Trie::no_value;
    std::size_t end = place + 1;
    Trie::Node node = patterns.trie.root();
    for (std::size_t next = place; next < size; ++next) {
      node = patterns.trie.step(node, characters[next].code);
      if (node == Trie::nowhere) break;
      if (node.value == Trie::no_value) continue;
      found = node.value;
      end = next + 1;
    }
    if (found == Trie::no_value) {
      ++place;
      continue;
    }
    const AddedToken& token = tokens_[found];
    std::size_t begin = place;
    std::size_t stop = end;
    place = end;  // even where it is not taken, the search goes on behind it
    const bool touches = (begin > 0 && is_word(characters[begin - 1])) ||
                         (stop < size && is_word(characters[stop]));
    if (token.single_word && touches) continue;
    if (token.lstrip) {
      while (begin > 0 && is_whitespace(characters[begin - 1])) --begin;
      begin = std::max(begin, open);  // the token before may have taken it up
    }
    if (token.rstrip) {
      while (stop < size && is_whitespace(characters[stop])) ++stop;
    }
    push(open, begin, nullptr);
    push(begin, stop, &token);
    open = stop;
  }
  push(open, size, nullptr);
}

std::optional<std::int64_t> AddedVocabulary::token_to_id(std::string_view token) const {
  const auto found = by_content_.find(std::string(token));
  if (found == by_content_.end()) return std::nullopt;
  return tokens_[found->second].id;
}

const AddedToken* AddedVocabulary::find(std::int64_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &tokens_[found->second];
}

bool AddedVocabulary::is_special(std::string_view token) const {
  const auto found = by_content_.find(std::string(token));
  return found != by_content_.end() && tokens_[found->second].special;
}

std::size_t AddedVocabulary::beyond(const WordPiece& model) const {
  return static_cast<std::size_t>(
      std::count_if(tokens_.begin(), tokens_.end(), [&](const AddedToken& token) {
        return !model.token_to_id(token.content).has_value();
      }));
}

}  // namespace bert_export::tokenization
