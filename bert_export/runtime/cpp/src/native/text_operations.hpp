// Operations on whole texts, which take little time: plain loops.
#pragma once

#include <vector>

#include "native/execution.hpp"

namespace bert_export::native {

// Copies rows of tokens: some of each text, or those of masked_positions.
void run_gather(GatherIndex index, const Texts& texts, const Matrix& x, const Matrix& y,
                std::size_t row_bytes);
// One row per text out of its tokens' rows.
void run_pool(const PoolOperation& pool, const Texts& texts, const Matrix& x, const Matrix& y);
// Rows of several values, one behind the other.
void run_concat(const std::vector<Matrix>& inputs, const Matrix& y);
// Rows scaled to length 1.
void run_normalize(float epsilon, const Matrix& x, const Matrix& y);

}  // namespace bert_export::native
