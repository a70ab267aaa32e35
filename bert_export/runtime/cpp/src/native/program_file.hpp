// native.json: a program as it stands in a bundle, read and checked whole before anything runs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "bundle/manifest.hpp"
#include "native/kernels.hpp"

namespace bert_export::native {

// What a value has a row for.
enum class Rows : std::uint8_t { tokens, texts, masks };
inline constexpr std::size_t kinds_of_rows = 3;

// A tensor of the weights file, one or two axes.
struct Tensor {
  bool int8 = false;  // else float32
  std::vector<std::size_t> shape;
  std::uint64_t offset = 0;

  std::size_t count() const;
  std::size_t bytes() const { return count() * (int8 ? 1 : sizeof(float)); }
};

// A matrix between operations.
struct Value {
  std::string name;
  Rows rows = Rows::tokens;
  std::size_t width = 0;
  Numbers numbers = Numbers::f32;
  // real = scale * (q - zero_point), where it is u8
  float scale = 1.0F;
  std::int32_t zero_point = 0;
};

// Numbers of tensors and values in their lists.
using TensorId = std::size_t;
using ValueId = std::size_t;

struct EmbedOperation {
  TensorId word, token_type, position, gamma, beta;
  std::optional<TensorId> word_scale;
  float epsilon;
};
struct NormOperation {
  ValueId x;
  TensorId gamma, beta;
  float epsilon;
};
struct LinearOperation {
  ValueId x;
  TensorId weight;
  bool transposed;  // (width, depth) instead of (depth, width)
  std::optional<TensorId> weight_scale, bias;
  Activation activation;
  std::optional<ValueId> residual;
};
struct AttentionOperation {
  ValueId query, key, value;
  std::size_t heads;
  float scale;
  bool causal;
  // The place of its cache among the program's.
  std::optional<std::size_t> cache;
};
// The first or last token of a text, or of those that pooling_mask marks; or any tokens.
enum class GatherIndex : std::uint8_t { first, last, first_pooled, last_pooled, masked_positions };
struct GatherOperation {
  ValueId x;
  GatherIndex index;
};
enum class PoolMode : std::uint8_t { mean, mean_sqrt_len, weightedmean, max };
struct PoolOperation {
  ValueId x;
  PoolMode mode;
  bool masked;  // by the input pooling_mask
};
struct ConcatOperation {
  std::vector<ValueId> x;
};
struct NormalizeOperation {
  ValueId x;
  float epsilon;
};
struct QuantizeOperation {
  ValueId x;
  std::optional<TensorId> add, multiply;
};

struct Operation {
  std::variant<EmbedOperation, NormOperation, LinearOperation, AttentionOperation, GatherOperation,
               PoolOperation, ConcatOperation, NormalizeOperation, QuantizeOperation>
      fields;
  std::vector<ValueId> outputs;

  // The values that it reads, in the order of its fields.
  std::vector<ValueId> inputs() const;
};

struct ProgramOutput {
  std::string name;
  ValueId value = 0;
  std::optional<std::size_t> column;
};

// Keys and values of one attention that are kept from call to call, and what padded batches call them.
struct CacheRecord {
  std::string past_key, past_value, present_key, present_value;
  // Of the attention.
  std::size_t heads = 0;
  std::size_t head_size = 0;
  Numbers numbers = Numbers::f32;
};

struct ProgramFile {
  // Of padded batches.
  std::vector<bundle::TensorSpec> interface_inputs;
  std::vector<bundle::TensorSpec> interface_outputs;
  std::vector<Tensor> tensors;
  std::vector<Value> values;
  std::vector<Operation> operations;
  std::vector<ProgramOutput> outputs;
  std::vector<CacheRecord> caches;
  bool masked_positions = false;
  bool pooling_mask = false;
  // Of the tables of the embeddings, which bound the inputs.
  std::size_t words = 0;
  std::size_t token_types = 0;
  std::size_t positions = 0;
};

// Reads a program and refuses what is not legal; `name` is what an error calls it. Throws BundleError.
ProgramFile parse_program(const std::string& name, const std::string& text,
                          std::uint64_t weights_bytes);

}  // namespace bert_export::native
