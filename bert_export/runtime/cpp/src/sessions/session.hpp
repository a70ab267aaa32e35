// The interface of every engine: named tensors in, named tensors out.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "bundle/manifest.hpp"

namespace bert_export::sessions {

using Shape = std::vector<std::int64_t>;

// An input of int64 numbers, row by row.
struct Feed {
  Shape shape;
  std::vector<std::int64_t> numbers;
};

// An output of float32 numbers, row by row.
struct Output {
  Shape shape;
  std::vector<float> numbers;
};

using Feeds = std::map<std::string, Feed>;
using Outputs = std::map<std::string, Output>;

struct SessionOptions {
  // Threads inside an operator; 0 leaves it to the engine, which takes all cores.
  int threads = 0;
  // Whether threads that wait burn processor time, so that they start sooner.
  bool spinning = true;
  // Whether memory that a long input needed is given back after the call.
  bool shrink_arena = false;
  // The engine's shared library; found where it is empty.
  std::string library;
};

// Runs one graph; safe to call from several threads.
class Session {
 public:
  Session() = default;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  virtual ~Session() = default;

  // Runs the graph once. Throws InputError where a feed is missing, unknown or of another shape, or
  // holds a number that the model has no row for.
  virtual Outputs run(const Feeds& feeds) const = 0;
};

// Compares feeds with the graph's inputs before the engine sees them; a named axis must agree
// between inputs. Throws InputError.
void check_feeds(const std::vector<bundle::TensorSpec>& inputs, const Feeds& feeds);

}  // namespace bert_export::sessions
