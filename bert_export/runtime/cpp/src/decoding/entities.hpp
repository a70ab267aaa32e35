// Logits of tokens to tagged tokens, words and entities.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "bert_export/answers.hpp"
#include "bert_export/encoded.hpp"
#include "decoding/matrix.hpp"

namespace bert_export::decoding {

// How tokens become entities: not at all, neighbours of one type, or after the tokens of a word
// agreed on the label of its first token, of their mean, of the surest.
enum class Aggregation { none, simple, first, average, max };

// A tokenizer's way from tokens to the text that they spell.
using Join = std::function<std::string(const std::vector<std::string>&)>;

// A text, and where in it the words start that it was joined from; no starts where it was not split.
struct TaggedText {
  std::string text;
  std::vector<std::uint32_t> starts;
  std::vector<std::uint32_t> byte_starts;
  bool is_split = false;

  static TaggedText from_words(const std::vector<std::string>& words, const std::string& delimiter);
};

// What the labels' names say, by label.
struct TagTable {
  std::vector<std::string> names;
  // The number that labels of the same entity type share.
  std::vector<std::size_t> tags;
  // Whether a label opens an entity (`B-`).
  std::vector<bool> begins;
  // The name that an entity is reported under.
  std::vector<std::string> groups;

  // Reads `B-` and `I-`; a label without one continues an entity, as `I-` does.
  static TagTable from_labels(const std::vector<std::string>& labels);
};

// One window over a text: its encoding and the logits of its tokens, (S, L).
struct TaggedWindow {
  const Encoded* encoding;
  Matrix logits;
};

struct TaggingOptions {
  Aggregation aggregation = Aggregation::none;
  // Left out of the answer, after the grouping.
  std::vector<std::string> ignore_labels = {"O"};
  // What the tokenizer puts before a token that continues a word. Without one a token continues a
  // word when no space stands before it.
  std::string prefix = "##";
  std::int64_t unk_id = 0;
};

// The tagged tokens or the entities of a text, in its order.
std::vector<Entity> decode_entities(const TaggedText& text, const std::vector<TaggedWindow>& windows,
                                    const TagTable& table, const TaggingOptions& options,
                                    const Join& join);

// Of entities that overlap keeps the longer, then the one with the higher score.
std::vector<Entity> merge_windows(std::vector<Entity> entities);

}  // namespace bert_export::decoding
