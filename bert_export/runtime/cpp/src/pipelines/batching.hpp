// Rows sorted by length, batched under a token budget, answered in the caller's order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bert_export/encoded.hpp"
#include "decoding/matrix.hpp"
#include "sessions/session.hpp"

namespace bert_export::pipelines {

// Groups row indices so that rows times longest row of a batch do not exceed the budget, except for
// a row that alone does, and no batch has more than `max_rows`. Sorted, the longest come first, so
// that memory peaks early.
std::vector<std::vector<std::size_t>> batch_rows(
    const std::vector<std::size_t>& lengths, std::size_t token_budget, bool sort,
    std::optional<std::size_t> max_rows = std::nullopt);

// One row of graph input.
struct Row {
  Encoded encoded;
  // A further input by name, a number per token, padded with 0.
  std::map<std::string, std::vector<std::int64_t>> extra = {};
};

// The graph input that names where masks stand, for a graph that scores just those.
inline constexpr const char* masked_positions = "masked_positions";

// The graph's inputs for a batch of rows, padded on the right to `length` tokens: input_ids,
// attention_mask, token_type_ids and the rows' extras, (B, S); or (B, 1, S) for a graph of several
// choices, and beside them the masks' places for a graph that scores just those.
sessions::Feeds pad_rows(const std::vector<const Row*>& rows, std::int64_t pad_id,
                         std::size_t length, const std::vector<bundle::TensorSpec>& specs,
                         std::optional<std::int64_t> mask_id);

// A row's outputs by name, batch axis and padding removed; numbers that the batch's outputs own.
using RowOutputs = std::map<std::string, decoding::Vector>;

// Gives each row its own outputs: those of which the second axis is the sequence lose the padding,
// those of which the first is the masks are cut where a row's masks end. Throws BundleError where
// an output has other axes than its spec.
std::vector<RowOutputs> split_outputs(const std::vector<const Row*>& rows,
                                      const sessions::Outputs& outputs,
                                      const std::vector<bundle::TensorSpec>& specs,
                                      std::optional<std::int64_t> mask_id);

}  // namespace bert_export::pipelines
