// What pipelines answer: plain values that the caller owns. Places count in Unicode code points, as
// in Python, and in bytes of UTF-8 beside them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "bert_export/encoded.hpp"

namespace bert_export {

// A label of a text, best first where there are several.
struct Label {
  std::string label;
  double score;
};

// How far each label holds of a text, best first.
struct Hypotheses {
  std::string sequence;
  std::vector<std::string> labels;
  std::vector<double> scores;
};

// A tagged token, or an entity of several.
struct Entity {
  // The token's label, or the type of the entity without B- and I-.
  std::string entity;
  double score;
  // The token's position in its row; none for an entity.
  std::int32_t index;
  std::string word;
  Span offsets;
  Span byte_offsets;
};

// A part of a context that answers a question; empty where there is no answer.
struct Answer {
  double score;
  Span offsets;
  Span byte_offsets;
  std::string answer;
};

// A word that fits behind a mask.
struct Candidate {
  double score;
  std::int64_t token;
  std::string token_str;
  // The row with the candidate in place.
  std::string sequence;
};

// The continuation that fits best.
struct Choice {
  std::size_t choice;
  std::string text;
  std::vector<double> scores;
};

// Whether a text follows another, and the probability that it does.
struct NextSentence {
  bool is_next;
  double score;
};

// What the two heads of pre-training say of a pair of texts.
struct PretrainingAnswer {
  NextSentence next_sentence;
  // Per mask its candidates, best first.
  std::vector<std::vector<Candidate>> masks;
};

// A vector per token, row by row.
struct TokenVectors {
  std::size_t tokens = 0;
  std::size_t dimension = 0;
  // (tokens, dimension)
  std::vector<float> numbers = {};
};

}  // namespace bert_export
