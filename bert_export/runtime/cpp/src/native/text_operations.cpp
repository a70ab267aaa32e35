#include "native/text_operations.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace bert_export::native {
namespace {

constexpr float least_weight = 1e-9F;

// The token of a text, among all tokens. Every text has a pooled token.
std::size_t token_of(GatherIndex index, const Texts& texts, std::size_t text) {
  const std::size_t first = texts.starts[text];
  const std::size_t end = texts.starts[text + 1];
  const std::int64_t* const pooled = texts.batch.pooling_mask;
  if (index == GatherIndex::last) return end - 1;
  if (index == GatherIndex::first_pooled) {
    return static_cast<std::size_t>(std::find(pooled + first, pooled + end, 1) - pooled);
  }
  if (index == GatherIndex::last_pooled) {
    for (std::size_t token = end; token > first; --token) {
      if (pooled[token - 1] == 1) return token - 1;
    }
  }
  return first;
}

}  // namespace

void run_gather(GatherIndex index, const Texts& texts, const Matrix& x, const Matrix& y,
                std::size_t row_bytes) {
  for (std::size_t row = 0; row < y.rows; ++row) {
    const std::size_t token = index == GatherIndex::masked_positions
                                  ? static_cast<std::size_t>(texts.batch.masked_positions[row])
                                  : token_of(index, texts, row);
    std::memcpy(static_cast<char*>(y.data) + row * row_bytes,
                static_cast<const char*>(x.data) + token * row_bytes, row_bytes);
  }
}

void run_pool(const PoolOperation& pool, const Texts& texts, const Matrix& x, const Matrix& y) {
  for (std::size_t text = 0; text < y.rows; ++text) {
    float* const output = y.floats(text);
    const bool largest = pool.mode == PoolMode::max;
    std::fill(output, output + y.stride, 0.0F);
    std::fill(output, output + y.width, largest ? -std::numeric_limits<float>::infinity() : 0.0F);
    float total = 0.0F;
    for (std::size_t token = texts.starts[text]; token < texts.starts[text + 1]; ++token) {
      if (pool.masked && texts.batch.pooling_mask[token] == 0) continue;
      const float* const row = x.floats(token);
      if (largest) {
        for (std::size_t i = 0; i < y.width; ++i) output[i] = std::max(output[i], row[i]);
        continue;
      }
      const float weight = pool.mode == PoolMode::weightedmean
                               ? static_cast<float>(texts.batch.position_ids[token] + 1)
                               : 1.0F;
      total += weight;
      for (std::size_t i = 0; i < y.width; ++i) output[i] += weight * row[i];
    }
    if (largest) continue;
    total = std::max(total, least_weight);
    const float divisor = pool.mode == PoolMode::mean_sqrt_len ? std::sqrt(total) : total;
    for (std::size_t i = 0; i < y.width; ++i) output[i] /= divisor;
  }
}

void run_concat(const std::vector<Matrix>& inputs, const Matrix& y) {
  for (std::size_t row = 0; row < y.rows; ++row) {
    float* output = y.floats(row);
    std::fill(output + y.width, output + y.stride, 0.0F);
    for (const Matrix& x : inputs) output = std::copy_n(x.floats(row), x.width, output);
  }
}

void run_normalize(float epsilon, const Matrix& x, const Matrix& y) {
  for (std::size_t row = 0; row < y.rows; ++row) {
    const float* const numbers = x.floats(row);
    float* const output = y.floats(row);
    double squares = 0.0;
    for (std::size_t i = 0; i < y.width; ++i) squares += double{numbers[i]} * numbers[i];
    const float divisor = std::max(static_cast<float>(std::sqrt(squares)), epsilon);
    std::fill(output, output + y.stride, 0.0F);
    for (std::size_t i = 0; i < y.width; ++i) output[i] = numbers[i] / divisor;
  }
}

}  // namespace bert_export::native
