// Norms, the formats of rows, and embeddings. Included behind a vector header.
#pragma once

#include "native/kernels.hpp"

namespace bert_export::native {
namespace {

// 1 / sqrt(x), by the instructions that round once each.
inline float inverse_root(float x) {
  return _mm_cvtss_f32(_mm_div_ss(_mm_set_ss(1.0F), _mm_sqrt_ss(_mm_set_ss(x))));
}

// Adds up term(vector) over a row; the lanes behind its end count nothing. Four sums side by side, for
// each addition waits for the one before it.
template <typename Term>
inline float sum_of_row(const float* numbers, std::size_t width, Term term) {
  Floats sums[4] = {zeros(), zeros(), zeros(), zeros()};
  std::size_t column = 0;
  for (; column + 4 * lanes <= width; column += 4 * lanes) {
    for (std::size_t part = 0; part < 4; ++part) {
      sums[part] = add(sums[part], term(load(numbers + column + part * lanes)));
    }
  }
  for (; column + lanes <= width; column += lanes) {
    sums[0] = add(sums[0], term(load(numbers + column)));
  }
  if (column < width) {
    sums[1] = add(sums[1], first_of(term(load(numbers + column)), width - column, zeros()));
  }
  return sum_of(add(add(sums[0], sums[1]), add(sums[2], sums[3])));
}

// Stores rows in their formats; `of(row, column)` gives their numbers.
template <bool floats, bool bf16, bool bytes, typename Of>
inline void store_rows(const NormCall& call, Of of) {
  const RowOutputs& outputs = call.outputs;
  const std::size_t padded = rounded_up(call.width, width_multiple);
  const ToBytes to_bytes(outputs.zero_point);
  for (std::size_t row = 0; row < call.rows; ++row) {
    const auto of_row = of(row);
    for (std::size_t first = 0; first < padded; first += 4 * lanes) {
      Floats y[4];
      for (std::size_t part = 0; part < 4; ++part) {
        const std::size_t column = first + part * lanes;
        y[part] = of_row(column);
        if (column + lanes > call.width) {
          y[part] = first_of(y[part], column < call.width ? call.width - column : 0, zeros());
        }
        if constexpr (floats) store(outputs.floats + row * outputs.floats_stride + column, y[part]);
        if constexpr (bf16) store_bf16(outputs.bf16 + row * outputs.bf16_stride + column, y[part]);
        if constexpr (bytes) {
          y[part] =
              multiply(add(y[part], load(outputs.shift + column)), load(outputs.factor + column));
        }
      }
      if constexpr (bytes) {
        store_bytes(outputs.bytes + row * outputs.bytes_stride + first, y[0], y[1], y[2], y[3],
                    to_bytes);
      }
    }
  }
}

template <typename Of>
inline void store_rows(const NormCall& call, Of of) {
  const bool floats = call.outputs.floats != nullptr;
  const bool bytes = call.outputs.bytes != nullptr;
  if (call.outputs.bf16 != nullptr) {
    if (floats && bytes) return store_rows<true, true, true>(call, of);
    if (floats) return store_rows<true, true, false>(call, of);
    if (bytes) return store_rows<false, true, true>(call, of);
    return store_rows<false, true, false>(call, of);
  }
  if (floats && bytes) return store_rows<true, false, true>(call, of);
  if (floats) return store_rows<true, false, false>(call, of);
  if (bytes) return store_rows<false, false, true>(call, of);
}

inline void run_norm(const NormCall& call) {
  if (call.norm == nullptr) {
    return store_rows(call, [&](std::size_t row) {
      const float* const numbers = call.input + row * call.input_stride;
      return [=](std::size_t column) { return load(numbers + column); };
    });
  }
  const float* const gain = call.norm->gain;
  const float* const bias = call.norm->bias;
  const auto count = static_cast<float>(call.width);
  store_rows(call, [&](std::size_t row) {
    // Mean and variance, in two passes.
    const float* const numbers = call.input + row * call.input_stride;
    const float sum = sum_of_row(numbers, call.width, [](Floats x) { return x; });
    const Floats mean = all_of(sum / count);
    const float squares = sum_of_row(numbers, call.width, [=](Floats x) {
      const Floats away = subtract(x, mean);
      return multiply(away, away);
    });
    const Floats inverse = all_of(inverse_root(squares / count + call.norm->epsilon));
    return [=](std::size_t column) {
      return fused(multiply(subtract(load(numbers + column), mean), inverse), load(gain + column),
                   load(bias + column));
    };
  });
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
