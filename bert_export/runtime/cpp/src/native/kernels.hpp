// The operations that programs are made of, as plain functions over plain memory.
//
// `reference/` says in plain C++ what each computes; `x86/` computes the same with the instructions of
// one set after the other. Sums of integers are exact, so every set gives the same integers; sums of
// floats differ in their order alone.
//
// Matrices stand row by row. A row's stride is at least its width rounded up to `width_multiple`, and
// kernels write that padding: weights, biases and scales are 0 there, so floats become 0.
// Kernels may read `row_slack` rows behind the last and use nothing of them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "native/instruction_set.hpp"

namespace bert_export::native {

inline constexpr std::size_t width_multiple = 64;
inline constexpr std::size_t row_slack = 32;
// Columns that stand together in packed weights.
inline constexpr std::size_t panel_columns = 16;

constexpr std::size_t rounded_up(std::size_t count, std::size_t multiple) {
  return (count + multiple - 1) / multiple * multiple;
}

// How a matrix stores its numbers.
enum class Numbers : std::uint8_t { u8, bf16, f32 };

constexpr std::size_t bytes_of(Numbers numbers) {
  return numbers == Numbers::u8 ? 1 : numbers == Numbers::bf16 ? 2 : 4;
}

enum class Activation : std::uint8_t { none, gelu, gelu_tanh, relu, tanh, sigmoid, silu };

// How a float becomes 8 bits: round_half_even(clamp(x * inverse_scale, -z, 255 - z)) + z.
struct Quantizer {
  float inverse_scale = 1.0F;
  std::int32_t zero_point = 0;
};

// A linear layer, y = activation(x W + bias) + residual, with its weights packed (packing.hpp).
struct Linear {
  // u8: int8 weights, and y is fused(sum + correction, scale, bias); bf16, f32: weights alike, without
  // scale and correction.
  Numbers input = Numbers::f32;
  Numbers output = Numbers::f32;
  Activation activation = Activation::none;
  // Whether no weight is beyond ±64, so that two products of bytes fit in 16 bits.
  bool narrow = false;
  std::size_t depth = 0;  // columns of x
  std::size_t width = 0;  // columns of y
  const void* weights = nullptr;
  // Per column, (rounded_up(width, width_multiple),): -zero_point * the column's sum of weights.
  const std::int32_t* correction = nullptr;
  const float* scale = nullptr;  // the scale of x times that of the column
  const float* bias = nullptr;
  Quantizer quantizer;  // of y, where it is u8
};

struct LinearCall {
  const void* input = nullptr;  // (rows, depth)
  std::size_t input_stride = 0;
  std::size_t rows = 0;
  // The columns to compute, multiples of width_multiple.
  std::size_t first_column = 0;
  std::size_t last_column = 0;
  const float* residual = nullptr;  // (rows, width), or none; only where y is f32
  std::size_t residual_stride = 0;
  void* output = nullptr;  // (rows, width)
  std::size_t output_stride = 0;
};

// y = (x - mean) / sqrt(variance + epsilon) * gain + bias over a row.
struct Norm {
  float epsilon = 0.0F;
  const float* gain = nullptr;  // (width,), padded with 0 as all of them
  const float* bias = nullptr;
};

// What a row of floats is stored as; each may be absent.
struct RowOutputs {
  float* floats = nullptr;
  std::size_t floats_stride = 0;
  std::uint16_t* bf16 = nullptr;
  std::size_t bf16_stride = 0;
  // y becomes 8 bits as (y + shift) * factor, where factor holds the inverse scale; (width,) both.
  std::uint8_t* bytes = nullptr;
  std::size_t bytes_stride = 0;
  const float* shift = nullptr;
  const float* factor = nullptr;
  std::int32_t zero_point = 0;
};

// Rows are normalized and stored.
struct NormCall {
  const float* input = nullptr;  // (rows, width)
  std::size_t input_stride = 0;
  std::size_t rows = 0;
  std::size_t width = 0;
  // Where it is null the rows are stored as they are.
  const Norm* norm = nullptr;
  RowOutputs outputs;
};

// softmax(scale * Q K^T) V of one sequence and one head. From bf16 the softmax's numerators are
// rounded to bf16 where they meet V; from f32 nothing is rounded.
struct Attention {
  Numbers input = Numbers::bf16;
  Numbers output = Numbers::u8;
  std::size_t head_size = 0;
  float scale = 1.0F;
  bool causal = false;  // whether a query meets the keys up to its own alone
  Quantizer quantizer;
};

struct AttentionCall {
  // Of the head's first column in the sequence's first row.
  const void* queries = nullptr;
  const void* keys = nullptr;
  const void* values = nullptr;
  std::size_t queries_stride = 0;
  std::size_t keys_stride = 0;
  std::size_t values_stride = 0;
  std::size_t query_count = 0;
  std::size_t length = 0;  // of keys and values
  std::size_t past = 0;    // of them, those before the first query's own
  void* output = nullptr;
  std::size_t output_stride = 0;
  // `attention_scratch` bytes, aligned to 64.
  void* scratch = nullptr;
};

// Bytes that any set's attention needs for a sequence.
std::size_t attention_scratch(std::size_t length, std::size_t head_size);

// A table of vectors, such as those of words, positions or token types.
struct Table {
  // u8 stands for int8 here, with a scale per row.
  Numbers numbers = Numbers::f32;
  const void* rows = nullptr;  // (count, width), without padding
  const float* scales = nullptr;
};

// The sum of a row of each of three tables: (word + token type) + position.
struct EmbedCall {
  const Table* tables = nullptr;               // 3
  const std::int64_t* const* numbers = nullptr;  // per table (rows,), each below its count
  std::size_t rows = 0;
  std::size_t width = 0;
  float* output = nullptr;  // (rows, width)
  std::size_t output_stride = 0;
};

// One set's kernels. Safe from any thread; what they were given is not kept.
struct Kernels {
  InstructionSet set;
  void (*linear)(const Linear&, const LinearCall&);
  void (*norm)(const NormCall&);
  void (*attention)(const Attention&, const AttentionCall&);
  void (*embed)(const EmbedCall&);
};

// The kernels of an available set.
const Kernels& kernels_of(InstructionSet set);

}  // namespace bert_export::native
