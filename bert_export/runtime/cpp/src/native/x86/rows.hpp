// Norms, the formats of rows, and embeddings. Included behind a vector header.
#pragma once

#include "native/kernels.hpp"

namespace bert_export::native {
namespace {

// 1 / sqrt(x), by the instructions that round once each.
inline float inverse_root(float x) {
  return _mm_cvtss_f32(_mm_div_ss(_mm_set_ss(1.0F), _mm_sqrt_ss(_mm_set_ss(x))));
}

inline void run_norm(const NormCall& call) {
  const RowOutputs& outputs = call.outputs;
  const std::size_t padded = rounded_up(call.width, width_multiple);
  const auto count = static_cast<float>(call.width);
  const ToBytes to_bytes(outputs.zero_point);
  for (std::size_t row = 0; row < call.rows; ++row) {
    const float* const numbers = call.input + row * call.input_stride;
    Floats mean = zeros();
    Floats inverse = all_of(1.0F);
    if (call.norm != nullptr) {
      // Mean and variance, in two passes.
      Floats sum = zeros();
      for (std::size_t column = 0; column < call.width; column += lanes) {
        sum = add(sum, first_of(load(numbers + column), call.width - column, zeros()));
      }
      mean = all_of(sum_of(sum) / count);
      Floats squares = zeros();
      for (std::size_t column = 0; column < call.width; column += lanes) {
        const Floats away = first_of(subtract(load(numbers + column), mean), call.width - column, zeros());
        squares = fused(away, away, squares);
      }
      inverse = all_of(inverse_root(sum_of(squares) / count + call.norm->epsilon));
    }
    for (std::size_t column = 0; column < padded; column += lanes) {
      Floats y = load(numbers + column);
      if (call.norm != nullptr) {
        y = fused(multiply(subtract(y, mean), inverse), load(call.norm->gain + column),
                  load(call.norm->bias + column));
      }
      if (column + lanes > call.width) {
        y = first_of(y, column < call.width ? call.width - column : 0, zeros());
      }
      if (outputs.floats != nullptr) store(outputs.floats + row * outputs.floats_stride + column, y);
      if (outputs.bf16 != nullptr) store_bf16(outputs.bf16 + row * outputs.bf16_stride + column, y);
      if (outputs.bytes != nullptr) {
        y = multiply(add(y, load(outputs.shift + column)), load(outputs.factor + column));
        store_bytes(outputs.bytes + row * outputs.bytes_stride + column, y, to_bytes);
      }
    }
  }
}

// Some numbers of a table's row.
inline Floats embedded(const Table& table, std::int64_t number, std::size_t width,
                       std::size_t column) {
  const std::size_t place = static_cast<std::size_t>(number) * width + column;
  const std::size_t count = width - column;
  if (table.numbers == Numbers::f32) {
    return load_first(static_cast<const float*>(table.rows) + place, count);
  }
  return multiply(from_int8(static_cast<const std::int8_t*>(table.rows) + place, count),
                  all_of(table.scales[number]));
}

inline void run_embed(const EmbedCall& call) {
  const std::size_t padded = rounded_up(call.width, width_multiple);
  for (std::size_t row = 0; row < call.rows; ++row) {
    float* const output = call.output + row * call.output_stride;
    for (std::size_t column = 0; column < padded; column += lanes) {
      Floats sum = zeros();
      if (column < call.width) {
        sum = embedded(call.tables[0], call.numbers[0][row], call.width, column);
        sum = add(sum, embedded(call.tables[1], call.numbers[1][row], call.width, column));
        sum = add(sum, embedded(call.tables[2], call.numbers[2][row], call.width, column));
      }
      store(output + column, sum);
    }
  }
}

}  // namespace
}  // namespace bert_export::native
