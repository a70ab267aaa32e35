#include "decoding/entities.hpp"

#include <algorithm>
#include <unordered_map>

#include "decoding/ranking.hpp"
#include "decoding/softmax.hpp"
#include "text/utf8.hpp"

namespace bert_export::decoding {
namespace {

bool is_in(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// A token of a window that is not special, or a word made of several.
struct Tagged {
  std::string word;
  Span offsets;
  Span byte_offsets;
  std::int32_t index;
  // Whether it belongs to the word before it.
  bool continues;
};

// The T tokens or words of a window and the probability of each of their L labels.
class TaggedTokens {
 public:
  TaggedTokens(std::size_t most, std::size_t labels) : labels_(labels) {
    tokens_.reserve(most);
    best_.reserve(most);
    scores_.reserve(most * labels);
  }

  // `fill` writes the probabilities, (L,).
  template <typename Fill>
  void add(Tagged token, const Fill& fill) {
    tokens_.push_back(std::move(token));
    scores_.resize(scores_.size() + labels_);
    float* const own = scores_.data() + scores_.size() - labels_;
    fill(own);
    best_.push_back(argmax(own, labels_));
  }

  std::size_t size() const { return tokens_.size(); }
  std::size_t labels() const { return labels_; }
  const Tagged& operator[](std::size_t index) const { return tokens_[index]; }
  Vector scores(std::size_t index) const { return {scores_.data() + index * labels_, labels_}; }
  // The likeliest label, and its probability.
  std::size_t best(std::size_t index) const { return best_[index]; }
  float sureness(std::size_t index) const { return scores(index)[best(index)]; }

 private:
  std::size_t labels_;
  std::vector<Tagged> tokens_;
  std::vector<std::size_t> best_;
  // (T, L).
  std::vector<float> scores_;
};

Span moved(Span span, std::uint32_t by) { return {span.begin + by, span.end + by}; }

// Whether a space stands at a byte of a text, or before it.
bool is_at_space(const std::string& text, std::size_t byte) {
  return (byte < text.size() && text[byte] == ' ') || text[byte - 1] == ' ';
}

// A window's tokens as the text has them.
//
// A token continues a word when it is not as long as the characters that it covers, which is how a
// continuation prefix shows. An unknown token never does, and its word is its characters.
TaggedTokens read_tokens(const TaggedText& text, const TaggedWindow& window,
                         const TaggingOptions& options) {
  const Encoded& encoding = *window.encoding;
  TaggedTokens tokens(encoding.size(), window.logits.columns);
  for (std::size_t place = 0; place < encoding.size(); ++place) {
    if (encoding.special_tokens_mask[place] != 0) continue;
    Span offsets = encoding.offsets[place];
    Span bytes = encoding.byte_offsets[place];
    if (const std::int32_t owner = encoding.word_ids[place]; text.is_split && owner != none) {
      offsets = moved(offsets, text.starts[static_cast<std::size_t>(owner)]);
      bytes = moved(bytes, text.byte_starts[static_cast<std::size_t>(owner)]);
    }
    const std::string& spelled = encoding.tokens[place];
    const bool unknown = encoding.ids[place] == options.unk_id;
    const bool joined = options.prefix.empty()
                            ? offsets.begin > 0 && !is_at_space(text.text, bytes.begin)
                            : text::length(spelled) != offsets.end - offsets.begin;
    tokens.add({unknown ? text.text.substr(bytes.begin, bytes.end - bytes.begin) : spelled, offsets,
                bytes, static_cast<std::int32_t>(place), joined && !unknown},
               [&](float* scores) {
                 softmax(window.logits.row(place), window.logits.columns, scores);
               });
  }
  return tokens;
}

// Appends every token with its likeliest label, but for labels that are ignored: the answer without
// aggregation.
void list_tokens(const TaggedTokens& tokens, const TagTable& table,
                 const std::vector<std::string>& ignored, std::vector<Entity>& entities) {
  for (std::size_t index = 0; index < tokens.size(); ++index) {
    const std::string& name = table.names[tokens.best(index)];
    if (is_in(ignored, name)) continue;
    const Tagged& token = tokens[index];
    entities.push_back({name, tokens.sureness(index), token.index, token.word, token.offsets,
                        token.byte_offsets});
  }
}

// Calls `visit` with the first token of each run and the one behind its last; `opens` says of a
// token whether it starts a run, of which the first always does.
template <typename Opens, typename Visit>
void for_each_run(const TaggedTokens& tokens, Opens opens, Visit visit) {
  for (std::size_t first = 0; first < tokens.size();) {
    std::size_t end = first + 1;
    while (end < tokens.size() && !opens(end)) ++end;
    visit(first, end);
    first = end;
  }
}

std::string join_words(const TaggedTokens& tokens, std::size_t first, std::size_t end,
                       const Join& join) {
  std::vector<std::string> words;
  for (std::size_t index = first; index < end; ++index) words.push_back(tokens[index].word);
  return join(words);
}

// Writes a word's scores: those of its first token, the mean over its tokens, or those of the token
// that is surest of its label (the first of equals).
void merge_scores(const TaggedTokens& tokens, std::size_t first, std::size_t end, Aggregation how,
                  float* scores) {
  std::size_t chosen = first;
  for (std::size_t index = first + 1; index < end && how == Aggregation::max; ++index) {
    if (tokens.sureness(index) > tokens.sureness(chosen)) chosen = index;
  }
  const Vector own = tokens.scores(chosen);
  std::copy(own.begin(), own.end(), scores);
  if (how != Aggregation::average) return;
  for (std::size_t index = first + 1; index < end; ++index) {
    const Vector further = tokens.scores(index);
    for (std::size_t label = 0; label < tokens.labels(); ++label) scores[label] += further[label];
  }
  for (std::size_t label = 0; label < tokens.labels(); ++label) {
    scores[label] /= static_cast<float>(end - first);
  }
}

TaggedTokens merge_words(const TaggedTokens& tokens, Aggregation how, const Join& join) {
  TaggedTokens words(tokens.size(), tokens.labels());
  const auto opens = [&](std::size_t index) { return !tokens[index].continues; };
  for_each_run(tokens, opens, [&](std::size_t first, std::size_t end) {
    const Tagged& last = tokens[end - 1];
    words.add({join_words(tokens, first, end, join),
               {tokens[first].offsets.begin, last.offsets.end},
               {tokens[first].byte_offsets.begin, last.byte_offsets.end},
               tokens[first].index,
               false},
              [&](float* scores) { merge_scores(tokens, first, end, how, scores); });
  });
  return words;
}

// Merges neighbours of one entity type until a `B-` label opens the next; a score is the mean of its
// members' highest.
std::vector<Entity> group_entities(const TaggedTokens& tokens, const TagTable& table,
                                   const Join& join) {
  std::vector<Entity> entities;
  const auto opens = [&](std::size_t index) {
    return table.begins[tokens.best(index)] ||
           table.tags[tokens.best(index)] != table.tags[tokens.best(index - 1)];
  };
  for_each_run(tokens, opens, [&](std::size_t first, std::size_t end) {
    double sum = 0;
    for (std::size_t index = first; index < end; ++index) sum += tokens.sureness(index);
    const Tagged& last = tokens[end - 1];
    entities.push_back({table.groups[tokens.best(first)], sum / static_cast<double>(end - first), none,
                        join_words(tokens, first, end, join),
                        {tokens[first].offsets.begin, last.offsets.end},
                        {tokens[first].byte_offsets.begin, last.byte_offsets.end}});
  });
  return entities;
}

bool weighs_more(const Entity& left, const Entity& right) {
  const auto length = [](const Entity& entity) {
    return std::int64_t{entity.offsets.end} - std::int64_t{entity.offsets.begin};
  };
  return length(left) != length(right) ? length(left) > length(right) : left.score > right.score;
}

}  // namespace

TaggedText TaggedText::from_words(const std::vector<std::string>& words,
                                  const std::string& delimiter) {
  TaggedText tagged;
  tagged.is_split = true;
  std::size_t characters = 0;
  const std::size_t gap = text::length(delimiter);
  for (const std::string& word : words) {
    if (!tagged.starts.empty()) tagged.text += delimiter;
    tagged.starts.push_back(static_cast<std::uint32_t>(characters));
    tagged.byte_starts.push_back(static_cast<std::uint32_t>(tagged.text.size()));
    tagged.text += word;
    characters += text::length(word) + gap;
  }
  return tagged;
}

TagTable TagTable::from_labels(const std::vector<std::string>& labels) {
  TagTable table;
  table.names = labels;
  std::unordered_map<std::string, std::size_t> numbers;
  for (const std::string& label : labels) {
    const std::string start = label.substr(0, 2);
    const std::string tag = start == "B-" || start == "I-" ? label.substr(2) : label;
    table.tags.push_back(numbers.emplace(tag, numbers.size()).first->second);
    table.begins.push_back(start == "B-");
    // Upstream reports what follows the first dash, whatever stands before it.
    const std::size_t dash = label.find('-');
    table.groups.push_back(dash == label.npos ? label : label.substr(dash + 1));
  }
  return table;
}

std::vector<Entity> decode_entities(const TaggedText& text, const std::vector<TaggedWindow>& windows,
                                    const TagTable& table, const TaggingOptions& options,
                                    const Join& join) {
  std::vector<Entity> entities;
  for (const TaggedWindow& window : windows) {
    TaggedTokens tokens = read_tokens(text, window, options);
    if (options.aggregation == Aggregation::none) {
      list_tokens(tokens, table, options.ignore_labels, entities);
      continue;
    }
    if (options.aggregation != Aggregation::simple) {
      tokens = merge_words(tokens, options.aggregation, join);
    }
    for (Entity& entity : group_entities(tokens, table, join)) {
      if (!is_in(options.ignore_labels, entity.entity)) entities.push_back(std::move(entity));
    }
  }
  return windows.size() > 1 ? merge_windows(std::move(entities)) : entities;
}

std::vector<Entity> merge_windows(std::vector<Entity> entities) {
  std::stable_sort(entities.begin(), entities.end(), [](const Entity& left, const Entity& right) {
    return left.offsets.begin < right.offsets.begin;
  });
  std::vector<Entity> kept;
  for (Entity& entity : entities) {
    if (kept.empty() || entity.offsets.begin >= kept.back().offsets.end) {
      kept.push_back(std::move(entity));
    } else if (weighs_more(entity, kept.back())) {
      kept.back() = std::move(entity);
    }
  }
  return kept;
}

}  // namespace bert_export::decoding
