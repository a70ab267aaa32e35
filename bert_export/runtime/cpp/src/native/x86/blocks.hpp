// Linear layers by the blocks of multiply.hpp. Included behind a vector header.
#pragma once

#include "native/kernels.hpp"
#include "native/packing.hpp"
#include "native/x86/finish.hpp"
#include "native/x86/multiply.hpp"

namespace bert_export::native {
namespace {

template <typename Step>
void run_blocks(const Linear& linear, const LinearCall& call) {
  Blocks<Step>::run(
      static_cast<const typename Step::Input*>(call.input), call.input_stride, call.rows,
      static_cast<const typename Step::Weight*>(linear.weights),
      packed_depth(linear.input, linear.depth), linear.depth, call.first_column, call.last_column,
      [&](std::size_t row, std::size_t rows, std::size_t column, const typename Step::Sum* sums) {
        finish<typename Step::Sum>(
            linear, call,
            {sums, Blocks<Step>::columns, row, rows, column, Blocks<Step>::columns});
      });
}

// Of more rows the weights are used often enough.
constexpr std::size_t few_rows = 8;

// A layer of few rows, by multiply_panel.
template <typename Step, std::size_t row_count = few_rows>
void run_few_rows(const Linear& linear, const LinearCall& call) {
  if constexpr (row_count > 1) {
    if (call.rows < row_count) return run_few_rows<Step, row_count - 1>(linear, call);
  }
  constexpr std::size_t columns = width_multiple;
  alignas(64) typename Step::Sum sums[row_count * columns];
  const std::size_t panel_stride = packed_depth(linear.input, linear.depth) * panel_columns;
  const std::size_t steps = (linear.depth + Step::together - 1) / Step::together;
  const auto* const weights = static_cast<const typename Step::Weight*>(linear.weights);
  for (std::size_t column = call.first_column; column < call.last_column; column += columns) {
    for (std::size_t part = 0; part < columns; part += panel_columns) {
      multiply_panel<Step, row_count>(static_cast<const typename Step::Input*>(call.input),
                                      call.input_stride,
                                      weights + (column + part) / panel_columns * panel_stride, steps,
                                      sums + part, columns);
    }
    finish<typename Step::Sum>(linear, call, {sums, columns, 0, row_count, column, columns});
  }
}

template <typename Step>
void run_integer_blocks(const Linear& linear, const LinearCall& call) {
  if (call.rows <= few_rows) return run_few_rows<Step>(linear, call);
  run_blocks<Step>(linear, call);
}

}  // namespace
}  // namespace bert_export::native
