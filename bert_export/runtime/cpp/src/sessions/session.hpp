// The interface of every engine: named tensors in, named tensors out.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bundle/manifest.hpp"

namespace bert_export::sessions {

using Shape = std::vector<std::int64_t>;

// An input, row by row: int64 numbers, or float32 ones where it holds keys or values.
struct Feed {
  Shape shape;
  std::vector<std::int64_t> numbers;
  std::vector<float> floats = {};
};

// An output of float32 numbers, row by row.
struct Output {
  Shape shape;
  std::vector<float> numbers;
};

using Feeds = std::map<std::string, Feed>;
using Outputs = std::map<std::string, Output>;

// What is wrong, in an engine's words and on one line; empty where nothing is.
struct Failure {
  std::string text;
  explicit operator bool() const { return !text.empty(); }
};

struct SessionOptions {
  // Threads inside an operator; 0 leaves it to the engine, which takes all cores.
  int threads = 0;
  // Whether threads that wait burn processor time, so that they start sooner.
  bool spinning = true;
  // Whether memory that a long input needed is given back after the call.
  bool shrink_arena = false;
  // The engine's shared library; found where it is empty.
  std::string library;
  // OpenVINO's: latency gives all threads to one run, throughput splits them among several.
  std::string hint;
  // OpenVINO's: a folder for compiled graphs; none where it is empty.
  std::string cache;
  // OpenVINO's: shapes of the first input for which the graph is compiled once more.
  std::vector<Shape> shapes;
  // Tokens of a row at most: engines differ in what they do with more than the model has positions
  // for.
  std::optional<std::int64_t> longest;
};

// Keys and values of a batch that grows call by call, which an engine keeps itself.
class SessionCache {
 public:
  SessionCache() = default;
  SessionCache(const SessionCache&) = delete;
  SessionCache& operator=(const SessionCache&) = delete;
  virtual ~SessionCache() = default;

  // Runs the next tokens of every row, one or more; gives the scores behind each row's last, (B, V).
  // Throws InputError where a row becomes longer than the model takes.
  virtual Output step(const std::vector<std::vector<std::int64_t>>& tokens) = 0;

  // Keeps some rows, in this order and as often as they are named.
  virtual void select(const std::vector<std::size_t>& rows) = 0;
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
  // The same into outputs of an earlier run, whose memory is used again where the engine can.
  virtual void run_into(const Feeds& feeds, Outputs& outputs) const { outputs = run(feeds); }

  // An empty cache, which the session must outlive; none where keys and values go in and out with each
  // run.
  virtual std::unique_ptr<SessionCache> open_cache() const { return nullptr; }

  // Rows are best padded to a multiple of so many tokens.
  virtual std::size_t row_multiple() const { return 1; }
  // Rows of a batch at most, where the engine bounds them.
  virtual std::optional<std::size_t> max_rows() const { return std::nullopt; }
};

// Compares feeds with the graph's inputs before the engine sees them; a named axis must agree
// between inputs, and a row may not be longer than `longest`. Returns the size of every named axis.
// Throws InputError.
std::map<std::string, std::int64_t> check_feeds(const std::vector<bundle::TensorSpec>& inputs,
                                                const Feeds& feeds,
                                                std::optional<std::int64_t> longest = std::nullopt);

// Whether an input holds keys or values of earlier calls.
bool is_cache(const bundle::TensorSpec& spec);

// Whether an input holds keys or values: of earlier calls, or of an encoded text.
bool holds_floats(const bundle::TensorSpec& spec);

// Refuses a graph whose inputs are no int64, or float32 where they hold keys or values, or whose
// outputs are no float32. Throws BundleError.
void check_types(const std::string& path, const bundle::GraphRecord& graph);

// The option `threads` of an engine; 0 leaves it to the engine. Throws InputError.
void check_threads(int threads);

// A shape as messages quote it, such as (2, 8).
std::string shown(const Shape& shape);
// The axes of a tensor as messages name them, such as (batch, sequence).
std::string axes_of(const bundle::TensorSpec& spec);

}  // namespace bert_export::sessions
