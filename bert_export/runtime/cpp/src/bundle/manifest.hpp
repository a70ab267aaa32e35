// manifest.json: what a runtime reads of it. What only an export or a report needs is passed over.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "bert_export/tokenizer.hpp"
#include "text/json.hpp"

namespace bert_export::bundle {

inline constexpr std::int64_t oldest_version = 1;
inline constexpr std::int64_t schema_version = 3;

// A graph input or output.
struct TensorSpec {
  std::string name;
  // numpy's name for it, such as int64.
  std::string dtype;
  // A size, or the name of a dynamic axis.
  std::vector<std::variant<std::int64_t, std::string>> shape;
  // Values are at least 0 and less than this, where anything bounds them.
  std::optional<std::int64_t> below;
};

// Whether name, type and axes are the same.
inline bool is_same(const TensorSpec& one, const TensorSpec& other) {
  return one.name == other.name && one.dtype == other.dtype && one.shape == other.shape;
}

struct GraphRecord {
  std::string file;
  std::vector<TensorSpec> inputs;
  std::vector<TensorSpec> outputs;
  // Tokens of a row at most, where that is another number than the model's positions: a decoder has
  // its own.
  std::optional<std::int64_t> longest = std::nullopt;
  // Of a decoder, the graph that runs once per text.
  std::shared_ptr<const GraphRecord> encoder = nullptr;
};

// Sizes of an axis.
struct Range {
  std::int64_t least;
  std::int64_t most;
};

// Sizes that an engine was built for, by dynamic axis.
using Profile = std::map<std::string, Range>;

// The engine that a target's own builder made of the graph.
struct BuiltRecord {
  std::string file;
  std::vector<Profile> profiles;
};

// The bundle's graph for one target.
struct EngineRecord {
  std::string target;
  std::string precision;
  GraphRecord graph;
  // The kind of processor that an INT8 graph was made for.
  std::optional<std::string> processor;
  // Whether it was seen to answer as the checkpoint does.
  bool verified;
  // None where the engine reads the graph itself, or none was built.
  std::optional<BuiltRecord> built;
};

struct FileRecord {
  std::int64_t bytes;
  std::string sha256;
};

struct Manifest {
  std::int64_t schema_version;
  std::string task;
  // In id order; empty where the task has none.
  std::vector<std::string> labels;
  std::int64_t max_position_embeddings;
  std::int64_t vocab_size;
  TokenizerRecord tokenizer;
  // The task's parameters; what is not named has the task's default.
  text::Json postprocessing;
  std::string default_target;
  // Whether the default was found by timing.
  bool timed;
  std::vector<EngineRecord> engines;
  // Every other file of the bundle by name, in the manifest's order.
  std::vector<std::pair<std::string, FileRecord>> files;

  // The entry of a target; of the default target where none is named. Throws BundleError where the
  // bundle does not serve it.
  const EngineRecord& engine(const std::optional<std::string>& target = std::nullopt) const;
};

// What a manifest says of its tokenizer; what is not named has the default. Throws JsonError where it
// is malformed.
TokenizerRecord read_tokenizer(const text::Json& json);
// A graph's input or output. Throws JsonError where it is malformed.
TensorSpec read_tensor(const text::Json& json);

// Reads and checks the manifest of a bundle's folder. Throws BundleError where there is none, it is
// malformed or of another version, or it names a file outside the folder, a default target that it
// does not serve, rows longer than the model takes, or more or fewer labels than a graph scores.
Manifest read_manifest(const std::string& folder);
// The same of the text of a manifest.json; errors name the folder.
Manifest parse_manifest(const std::string& folder, const std::string& text);

}  // namespace bert_export::bundle
