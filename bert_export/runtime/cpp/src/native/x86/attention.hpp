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
      const std::size_t seen = attention.causal ? call.past + first + query + 1 : call.length;
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

// The numbers of a row from a place on, of which so many are left; 0 behind them.
inline Floats load_numbers(const float* from, std::size_t left) {
  return left >= lanes ? load(from) : load_first(from, left);
}
inline Floats load_numbers(const std::uint16_t* from, std::size_t left) {
  return left >= lanes ? load_bf16(from) : load_first_bf16(from, left);
}

// Sums of the products of a query and a key, the same number after the same number.
template <typename Number>
inline float score_of(const float* query, const Number* key, std::size_t size) {
  Floats sum = zeros();
  for (std::size_t place = 0; place < size; place += lanes) {
    sum = fused(load(query + place), load_numbers(key + place, size - place), sum);
  }
  return sum_of(sum);
}

// Few queries: keys and values are read where they lie, once for each.
template <typename Number>
inline void attend_few(const Attention& attention, const AttentionCall& call) {
  constexpr std::size_t block = 4 * lanes;
  const std::size_t size = attention.head_size;
  const std::size_t padded_size = rounded_up(size, 64);
  Scratch scratch(call.scratch);
  auto* const query = scratch.take<float>(padded_size);
  auto* const sums = scratch.take<float>(padded_size);
  auto* const scores = scratch.take<float>(rounded_up(call.length, 64));
  const auto* const keys = static_cast<const Number*>(call.keys);
  const auto* const values = static_cast<const Number*>(call.values);
  for (std::size_t row = 0; row < call.query_count; ++row) {
    const auto* const from = static_cast<const Number*>(call.queries) + row * call.queries_stride;
    for (std::size_t place = 0; place < size; place += lanes) {
      store(query + place, load_first_numbers(from + place, size - place));
    }
    const std::size_t seen = attention.causal ? call.past + row + 1 : call.length;
    for (std::size_t key = 0; key < seen; ++key) {
      scores[key] = score_of(query, keys + key * call.keys_stride, size);
    }
    const float divisor = run_softmax<sizeof(Number) == 2>(scores, seen, rounded_up(seen, lanes),
                                                           attention.scale, scores);
    for (std::size_t first = 0; first < size; first += block) {
      Floats totals[4] = {zeros(), zeros(), zeros(), zeros()};
      const std::size_t left = size - first;
      for (std::size_t key = 0; key < seen; ++key) {
        const Number* const numbers = values + key * call.values_stride + first;
        const Floats weight = all_of(scores[key]);
        for (std::size_t part = 0; part < 4 && part * lanes < left; ++part) {
          totals[part] = fused(
              weight, load_numbers(numbers + part * lanes, left - part * lanes), totals[part]);
        }
      }
      for (std::size_t part = 0; part < 4; ++part) store(sums + first + part * lanes, totals[part]);
    }
    store_head(attention, sums, divisor, call.output, row * call.output_stride);
  }
}

// More of them are worth the arranging of keys and values.
constexpr std::size_t few_queries = 2;

// Whether there are few, which are answered then.
inline bool run_few_queries(const Attention& attention, const AttentionCall& call) {
  if (call.query_count > few_queries) return false;
  if (attention.input == Numbers::bf16) {
    attend_few<std::uint16_t>(attention, call);
  } else {
    attend_few<float>(attention, call);
  }
  return true;
}

inline void run_attention(const Attention& attention, const AttentionCall& call) {
  if (run_few_queries(attention, call)) return;
  if (attention.input == Numbers::bf16) return attend<std::uint16_t>(attention, call);
  attend<float>(attention, call);
}

}  // namespace
}  // namespace bert_export::native
