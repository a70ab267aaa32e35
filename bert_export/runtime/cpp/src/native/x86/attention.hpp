// Attention with products of floats. Included behind a vector header.
#pragma once

#include "native/kernels.hpp"
#include "native/x86/multiply.hpp"
#include "native/x86/softmax.hpp"

namespace bert_export::native {
namespace {

inline Floats load_first_numbers(const float* from, std::size_t count) {
  return load_first(from, count);
}
inline Floats load_first_numbers(const std::uint16_t* from, std::size_t count) {
  return load_first_bf16(from, count);
}

template <typename Number>
inline void attend(const Attention& attention, const AttentionCall& call) {
  constexpr std::size_t query_rows = row_slack;
  constexpr std::size_t value_vectors = 32 / lanes > 2 ? 2 : 32 / lanes;
  const std::size_t size = attention.head_size;
  const std::size_t padded_size = rounded_up(size, 32);
  const std::size_t keys = rounded_up(call.length, 64);
  Scratch scratch(call.scratch);
  auto* const key_panels = scratch.take<float>(keys * padded_size);
  auto* const value_panels = scratch.take<float>(keys * padded_size);
  auto* const queries = scratch.take<float>(query_rows * padded_size);
  auto* const scores = scratch.take<float>(query_rows * keys);
  auto* const sums = scratch.take<float>(query_rows * padded_size);

  // Keys become columns, in panels of 16; values stay rows. Both are floats from here on.
  alignas(64) float row[lanes];
  for (std::size_t key = 0; key < keys; ++key) {
    float* const column =
        key_panels + key / panel_columns * padded_size * panel_columns + key % panel_columns;
    for (std::size_t place = 0; place < padded_size; place += lanes) {
      Floats key_part = zeros();
      Floats value_part = zeros();
      if (key < call.length && place < size) {
        key_part = load_first_numbers(
            static_cast<const Number*>(call.keys) + key * call.keys_stride + place, size - place);
        value_part = load_first_numbers(
            static_cast<const Number*>(call.values) + key * call.values_stride + place,
            size - place);
      }
      store(row, key_part);
      for (std::size_t lane = 0; lane < lanes; ++lane) {
        column[(place + lane) * panel_columns] = row[lane];
      }
      store(value_panels + (place / panel_columns * keys + key) * panel_columns +
                place % panel_columns,
            value_part);
    }
  }

  for (std::size_t first = 0; first < call.query_count; first += query_rows) {
    const std::size_t left = call.query_count - first;
    const std::size_t count = left < query_rows ? left : query_rows;
    for (std::size_t query = 0; query < count; ++query) {
      const auto* const from =
          static_cast<const Number*>(call.queries) + (first + query) * call.queries_stride;
      for (std::size_t place = 0; place < size; place += lanes) {
        store(queries + query * padded_size + place, load_first_numbers(from + place, size - place));
      }
    }
    const auto copy_to = [](float* to, std::size_t stride, std::size_t columns) {
      return [=](std::size_t row_of_block, std::size_t rows, std::size_t column, const float* block) {
        for (std::size_t index = 0; index < rows; ++index) {
          for (std::size_t part = 0; part < columns; part += lanes) {
            store(to + (row_of_block + index) * stride + column + part,
                  load(block + index * columns + part));
          }
        }
      };
    };
    Blocks<FloatStep>::run(queries, padded_size, count, key_panels, padded_size, size, 0, keys,
                           copy_to(scores, keys, Blocks<FloatStep>::columns));
    float divisors[query_rows];
    for (std::size_t query = 0; query < count; ++query) {
      const std::size_t seen = attention.causal ? first + query + 1 : call.length;
      float* const numbers = scores + query * keys;
      divisors[query] = run_softmax<sizeof(Number) == 2>(numbers, seen, rounded_up(call.length, lanes),
                                                         attention.scale, numbers);
    }
    using Values = Blocks<FloatStep, value_vectors>;
    Values::run(scores, keys, count, value_panels, keys, call.length, 0, padded_size,
                copy_to(sums, padded_size, Values::columns));
    for (std::size_t query = 0; query < count; ++query) {
      store_head(attention, sums + query * padded_size, divisors[query], call.output,
                 (first + query) * call.output_stride);
    }
  }
}

inline void run_attention(const Attention& attention, const AttentionCall& call) {
  if (attention.input == Numbers::bf16) return attend<std::uint16_t>(attention, call);
  attend<float>(attention, call);
}

}  // namespace
}  // namespace bert_export::native
