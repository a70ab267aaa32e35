// Linear layers by AMX. Included behind a vector header.
#pragma once

#include "native/kernels.hpp"
#include "native/packing.hpp"
#include "native/x86/amx_tiles.hpp"
#include "native/x86/finish.hpp"

namespace bert_export::native {
namespace {

template <typename Kind>
void run_tiles(const Linear& linear, const LinearCall& call) {
  using Sum = typename Kind::Sum;
  constexpr std::size_t block = 2 * tile_rows;
  constexpr std::size_t wide = 4 * tile_rows;
  const Tiles tiles;
  alignas(64) Sum sums[block * block];
  const std::size_t depth = packed_depth(linear.input, linear.depth);
  const std::size_t steps = depth / Kind::depth;
  const std::size_t panel_stride = depth * panel_columns;
  const auto* const input = static_cast<const typename Kind::Input*>(call.input);
  const auto* const weights = static_cast<const typename Kind::Weight*>(linear.weights);

  // Whole blocks of rows: a pair of panels stays in the first cache while all rows pass by it.
  const std::size_t in_blocks =
      call.rows % block > tile_rows ? call.rows : call.rows / block * block;
  for (std::size_t column = call.first_column; column < call.last_column && in_blocks > 0;
       column += block) {
    const auto* const panel = weights + column / panel_columns * panel_stride;
    for (std::size_t row = 0; row < in_blocks; row += block) {
      multiply_tiles_2x2<Kind>(input + row * call.input_stride, call.input_stride, panel,
                               panel_stride, steps, sums, block);
      const std::size_t rows = in_blocks - row < block ? in_blocks - row : block;
      finish<Sum>(linear, call, {sums, block, row, rows, column, block});
    }
  }
  // At most 16 rows are left.
  if (in_blocks == call.rows) return;
  for (std::size_t column = call.first_column; column < call.last_column; column += wide) {
    multiply_tiles_1x4<Kind>(input + in_blocks * call.input_stride, call.input_stride,
                             weights + column / panel_columns * panel_stride, panel_stride, steps,
                             sums, wide);
    finish<Sum>(linear, call, {sums, wide, in_blocks, call.rows - in_blocks, column, wide});
  }
}

}  // namespace
}  // namespace bert_export::native
