// What a batch's earlier tokens left behind, so that a call runs the next ones alone.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "sessions/session.hpp"

namespace bert_export::pipelines {

// Rows are padded on the left, so that the tokens of every call are the last ones.
class KeyValueCache {
 public:
  // Of a graph that takes keys and values. `graph` must outlive it.
  KeyValueCache(const bundle::GraphRecord& graph, std::int64_t pad_id)
      : graph_(graph), pad_id_(pad_id) {}

  // Whether a graph takes keys and values of earlier calls.
  static bool fits(const bundle::GraphRecord& graph);

  // Runs the next tokens of every row; gives the scores behind each row's last one, (B, V).
  sessions::Output step(const sessions::Session& session,
                        const std::vector<std::vector<std::int64_t>>& tokens);

  // Keeps some rows, in this order, and drops the padding that none of them needs.
  void select(const std::vector<std::size_t>& rows);

 private:
  const bundle::GraphRecord& graph_;
  std::int64_t pad_id_;
  // The engine's own, where it keeps one; then there is nothing else.
  std::unique_ptr<sessions::SessionCache> own_;
  // 1 for every token of a row, 0 for padding.
  std::vector<std::vector<std::int64_t>> mask_;
  // Keys and values in the order of the graph's inputs.
  std::vector<sessions::Feed> kept_;
};

}  // namespace bert_export::pipelines
