// How a bundle is opened, the same for every task.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bert_export/thread_pool.hpp"

namespace bert_export {

struct OpenOptions {
  // Which of the bundle's engines answers. Where it is absent the bundle's default, unless that was
  // not found by timing and native is there in the same precision, verified, on a processor with AMX.
  std::optional<std::string> target = std::nullopt;
  // Threads inside an operator; 0 leaves it to the engine, which takes all cores.
  int threads = 0;
  // ONNX Runtime's: whether its threads burn processor time while they wait, so that they start
  // sooner.
  bool spinning = true;
  // ONNX Runtime's: whether memory that a long input needed is given back after the call.
  bool shrink_arena = false;
  // Padded tokens per graph call; a longer single row travels alone.
  std::size_t token_budget = 512;
  // Whether rows are sorted by length before they are batched; answers keep the caller's order.
  bool sort = true;
  // Whether every file is compared with its recorded sha256.
  bool verify = true;
  // The engine's shared library; found where it is empty.
  std::string library = {};
  // OpenVINO's: latency, its default, gives all threads to one run; throughput splits them among as
  // many runs as it finds best, for callers that come from several threads.
  std::string hint = {};
  // OpenVINO's: a folder in which it keeps compiled graphs, and finds them the next time.
  std::string cache = {};
  // OpenVINO's: shapes of the first input, such as {1, 128}, for which the graph is compiled once
  // more; calls of exactly that shape take less time.
  std::vector<std::vector<std::int64_t>> shapes = {};
  // Threads that tokenize the items of a call and run its batches side by side; several pipelines
  // may share them. The caller's thread alone where it is empty. With it, threads = 1 as a rule is
  // best.
  std::shared_ptr<ThreadPool> pool = nullptr;
};

}  // namespace bert_export
