// Logits to probabilities.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "decoding/matrix.hpp"

namespace bert_export::decoding {

// Probabilities of logits that are not all -inf, shifted by the maximum so that nothing overflows;
// `scores` holds `size` numbers.
template <typename Number>
void softmax(const Number* logits, std::size_t size, Number* scores) {
  const Number highest = size == 0 ? Number{} : *std::max_element(logits, logits + size);
  double sum = 0;
  for (std::size_t index = 0; index < size; ++index) {
    scores[index] = std::exp(logits[index] - highest);
    sum += scores[index];
  }
  for (std::size_t index = 0; index < size; ++index) {
    scores[index] = static_cast<Number>(scores[index] / sum);
  }
}

template <typename Number>
std::vector<Number> softmax(const Number* logits, std::size_t size) {
  std::vector<Number> scores(size);
  softmax(logits, size, scores.data());
  return scores;
}

inline std::vector<float> softmax(Vector logits) { return softmax(logits.data, logits.size); }

// Each row's, one behind the other.
inline std::vector<float> softmax_rows(Matrix logits) {
  std::vector<float> scores(logits.rows * logits.columns);
  for (std::size_t row = 0; row < logits.rows; ++row) {
    softmax(logits.row(row), logits.columns, scores.data() + row * logits.columns);
  }
  return scores;
}

}  // namespace bert_export::decoding
