// Logits to probabilities.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "decoding/matrix.hpp"

namespace bert_export::decoding {

// Probabilities of logits that are not all -inf, shifted by the maximum so that nothing overflows.
template <typename Number>
std::vector<Number> softmax(const Number* logits, std::size_t size) {
  std::vector<Number> powers(size);
  const Number highest = size == 0 ? Number{} : *std::max_element(logits, logits + size);
  double sum = 0;
  for (std::size_t index = 0; index < size; ++index) {
    powers[index] = std::exp(logits[index] - highest);
    sum += powers[index];
  }
  for (Number& power : powers) power = static_cast<Number>(power / sum);
  return powers;
}

inline std::vector<float> softmax(Vector logits) { return softmax(logits.data, logits.size); }

// Each row's, one behind the other.
inline std::vector<float> softmax_rows(Matrix logits) {
  std::vector<float> scores;
  scores.reserve(logits.rows * logits.columns);
  for (std::size_t row = 0; row < logits.rows; ++row) {
    const std::vector<float> own = softmax(logits.row(row), logits.columns);
    scores.insert(scores.end(), own.begin(), own.end());
  }
  return scores;
}

}  // namespace bert_export::decoding
