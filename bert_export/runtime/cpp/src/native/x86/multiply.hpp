// The blocking of every product but AMX's: some rows times some vectors of columns stay in registers
// while the whole depth passes by. Included behind a vector header.
#pragma once

#include "native/kernels.hpp"

namespace bert_export::native {
namespace {

// A step multiplies what stands together in 64 bytes of packed weights: four int8, two bf16, one float
// of 16 columns. It says of its numbers
//   Input          the type of x,
//   Sum, Vector    the type of a sum, and of `lanes` of them,
//   Left           what one row brings for all columns,
//   together       how many numbers of x a step takes.
//
// Sums of `row_count` rows and `vector_count` vectors, over `steps` steps.
template <typename Step, std::size_t row_count, std::size_t vector_count>
inline void multiply_block(const typename Step::Input* input, std::size_t input_stride,
                           const typename Step::Weight* panel, std::size_t panel_stride,
                           std::size_t steps, typename Step::Sum* sums, std::size_t sums_stride) {
  typename Step::Vector total[row_count][vector_count];
  for (std::size_t row = 0; row < row_count; ++row) {
    for (std::size_t vector = 0; vector < vector_count; ++vector) total[row][vector] = Step::zero();
  }
  // Vectors beside each other in a panel, then panel by panel.
  constexpr std::size_t in_panel = panel_columns / lanes;
  constexpr std::size_t step_size = panel_columns * Step::together;
  for (std::size_t step = 0; step < steps; ++step) {
    typename Step::Right right[vector_count];
#pragma GCC unroll 8
    for (std::size_t vector = 0; vector < vector_count; ++vector) {
      right[vector] = Step::right(panel + vector / in_panel * panel_stride + step * step_size +
                                  vector % in_panel * lanes * Step::together);
    }
#pragma GCC unroll 8
    for (std::size_t row = 0; row < row_count; ++row) {
      const auto left = Step::left(input + row * input_stride + step * Step::together);
#pragma GCC unroll 8
      for (std::size_t vector = 0; vector < vector_count; ++vector) {
        total[row][vector] = Step::multiply_add(total[row][vector], left, right[vector]);
      }
    }
  }
  for (std::size_t row = 0; row < row_count; ++row) {
    for (std::size_t vector = 0; vector < vector_count; ++vector) {
      Step::store(sums + row * sums_stride + vector * lanes, total[row][vector]);
    }
  }
}

// Rows of x times the columns of some panels, block by block; `done(row, rows, column)` takes the sums
// of each block, (rows, block_columns), from `sums`.
template <typename Step, std::size_t vectors = Step::block_vectors>
struct Blocks {
  static constexpr std::size_t rows = Step::block_rows;
  static constexpr std::size_t columns = vectors * lanes;

  template <std::size_t count>
  static void some_rows(std::size_t row_count, const typename Step::Input* input,
                        std::size_t input_stride, const typename Step::Weight* panel,
                        std::size_t panel_stride, std::size_t steps, typename Step::Sum* sums) {
    if constexpr (count > 0) {
      if (row_count == count) {
        multiply_block<Step, count, vectors>(input, input_stride, panel, panel_stride, steps, sums,
                                             columns);
        return;
      }
      some_rows<count - 1>(row_count, input, input_stride, panel, panel_stride, steps, sums);
    }
  }

  template <typename Done>
  static void run(const typename Step::Input* input, std::size_t input_stride, std::size_t row_count,
                  const typename Step::Weight* weights, std::size_t padded_depth, std::size_t depth,
                  std::size_t first_column, std::size_t last_column, Done done) {
    alignas(64) typename Step::Sum sums[rows * columns];
    const std::size_t panel_stride = padded_depth * panel_columns;
    const std::size_t steps = (depth + Step::together - 1) / Step::together;
    for (std::size_t column = first_column; column < last_column; column += columns) {
      const auto* const panel = weights + column / panel_columns * panel_stride;
      for (std::size_t row = 0; row < row_count; row += rows) {
        const std::size_t count = row_count - row < rows ? row_count - row : rows;
        some_rows<rows>(count, input + row * input_stride, input_stride, panel, panel_stride, steps,
                        sums);
        done(row, count, column, static_cast<const typename Step::Sum*>(sums));
      }
    }
  }
};

// With few rows the weights' way from memory takes the time. They pass by once, a panel after the
// other and each in its order, and are asked for ahead of their turn.
//
// Sums of `row_count` rows and one panel; of integers alone, for several sums of a column are added at
// last.
template <typename Step, std::size_t row_count>
inline void multiply_panel(const typename Step::Input* input, std::size_t input_stride,
                           const typename Step::Weight* panel, std::size_t steps,
                           typename Step::Sum* sums, std::size_t sums_stride) {
  constexpr std::size_t in_panel = panel_columns / lanes;
  constexpr std::size_t step_size = panel_columns * Step::together;
  // Each product waits for the one before it in its sum.
  constexpr std::size_t chains = row_count * in_panel >= 4 ? 1 : 4 / (row_count * in_panel);
  constexpr std::size_t ahead = 4096;  // bytes, into the second cache
  typename Step::Vector total[chains][row_count][in_panel];
  for (auto& of_chain : total) {
    for (auto& of_row : of_chain) {
      for (auto& vector : of_row) vector = Step::zero();
    }
  }
  const auto add_step = [&](std::size_t step, std::size_t chain) {
    const auto* const weights = panel + step * step_size;
    _mm_prefetch(reinterpret_cast<const char*>(weights) + ahead, _MM_HINT_T1);
    typename Step::Right right[in_panel];
#pragma GCC unroll 8
    for (std::size_t vector = 0; vector < in_panel; ++vector) {
      right[vector] = Step::right(weights + vector * lanes * Step::together);
    }
#pragma GCC unroll 8
    for (std::size_t row = 0; row < row_count; ++row) {
      const auto left = Step::left(input + row * input_stride + step * Step::together);
#pragma GCC unroll 8
      for (std::size_t vector = 0; vector < in_panel; ++vector) {
        total[chain][row][vector] =
            Step::multiply_add(total[chain][row][vector], left, right[vector]);
      }
    }
  };
  std::size_t step = 0;
  for (; step + chains <= steps; step += chains) {
#pragma GCC unroll 8
    for (std::size_t chain = 0; chain < chains; ++chain) add_step(step + chain, chain);
  }
  for (; step < steps; ++step) add_step(step, 0);
  for (std::size_t row = 0; row < row_count; ++row) {
    for (std::size_t vector = 0; vector < in_panel; ++vector) {
      typename Step::Vector sum = total[0][row][vector];
      for (std::size_t chain = 1; chain < chains; ++chain) {
        sum = add(sum, total[chain][row][vector]);
      }
      Step::store(sums + row * sums_stride + vector * lanes, sum);
    }
  }
}

// Step of floats, the same with every width.
struct FloatStep {
  using Input = float;
  using Weight = float;
  using Sum = float;
  using Vector = Floats;
  using Right = Floats;
  static constexpr std::size_t together = 1;
#if defined(__AVX512F__)
  static constexpr std::size_t block_rows = 6;
  static constexpr std::size_t block_vectors = 4;
#else
  static constexpr std::size_t block_rows = 6;
  static constexpr std::size_t block_vectors = 2;
#endif
  static Floats zero() { return zeros(); }
  static Floats left(const float* x) { return all_of(*x); }
  static Floats right(const float* weights) { return load(weights); }
  static Floats multiply_add(Floats sum, Floats a, Floats b) { return fused(a, b, sum); }
  static void store(float* to, Floats x) { native::store(to, x); }
};

// A pair of bf16 as two floats; their products are exact.
struct Pair {
  Floats even;
  Floats odd;
};
struct Bf16Step {
  using Input = std::uint16_t;
  using Weight = std::uint16_t;
  using Sum = float;
  using Vector = Floats;
  using Right = Pair;
  static constexpr std::size_t together = 2;
  static constexpr std::size_t block_rows = FloatStep::block_rows == 6 && lanes == 16 ? 5 : 4;
  static constexpr std::size_t block_vectors = FloatStep::block_vectors;
  static Floats zero() { return zeros(); }
  static Pair left(const std::uint16_t* x) {
    const Integers pair = all_pairs(x);
    return {even_floats(pair), odd_floats(pair)};
  }
  static Pair right(const std::uint16_t* weights) {
    const Integers pairs = load_pairs(weights);
    return {even_floats(pairs), odd_floats(pairs)};
  }
  static Floats multiply_add(Floats sum, const Pair& a, const Pair& b) {
    return fused(a.odd, b.odd, fused(a.even, b.even, sum));
  }
  static void store(float* to, Floats x) { native::store(to, x); }
};

}  // namespace
}  // namespace bert_export::native
