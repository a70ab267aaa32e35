// The keys and values of a batch that grows call by call, over any session.
//
// Rows are padded on the left, so that the tokens of every call are the last ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "sessions/session.hpp"

namespace bert_export::sessions {

// What a batch's earlier tokens left behind, and how the next ones are run.
class Cache {
 public:
  Cache() = default;
  Cache(const Cache&) = delete;
  Cache& operator=(const Cache&) = delete;
  virtual ~Cache() = default;

  // Runs the next tokens of every row, (B, S), under a mask of all tokens so far and these, (B, T).
  // Gives the scores of the token behind each row's last, (B, V), until the next step. Throws
  // InputError where a shape does not fit what is kept, or the model has no more positions.
  virtual const Output& step(const Session& session, Feed input_ids, Feed attention_mask) = 0;

  // Keeps some rows, in this order and as often as they are named, and drops so many tokens at the
  // beginning.
  virtual void select(const std::vector<std::size_t>& rows, std::size_t first) = 0;
};

// The empty cache of a session's graph: the engine's own where it keeps one, and the tokens
// themselves where the graph takes no keys and values. Both must outlive it.
//
// `held` are inputs whose first axis is the row, and that no step changes.
std::unique_ptr<Cache> open_cache(const Session& session, const bundle::GraphRecord& graph,
                                  std::int64_t pad_id, Feeds held = {});

// Whether a graph takes keys and values of earlier calls.
bool keeps_cache(const bundle::GraphRecord& graph);

}  // namespace bert_export::sessions
