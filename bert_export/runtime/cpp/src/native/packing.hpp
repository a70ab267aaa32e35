// Weights in the order in which kernels read them.
//
// Panels of 16 columns stand one after the other. Within a panel, four int8 (two bf16, one float) rows
// of a column stand together: 64 bytes hold them for all 16 columns, and 16 times 64 bytes are a tile
// of AMX. Rows and columns beyond the matrix are 0.
#pragma once

#include <cstddef>
#include <cstdint>

#include "native/kernels.hpp"

namespace bert_export::native {

// Rows of a packed matrix, counted with those that fill the last tile.
constexpr std::size_t packed_depth(Numbers input, std::size_t depth) {
  return input == Numbers::f32 ? depth : rounded_up(depth, 64 / bytes_of(input));
}

constexpr std::size_t packed_bytes(Numbers input, std::size_t depth, std::size_t width) {
  return packed_depth(input, depth) * rounded_up(width, width_multiple) * bytes_of(input);
}

// Where a number stands in packed weights, counted in numbers.
constexpr std::size_t packed_place(Numbers input, std::size_t depth, std::size_t row,
                                   std::size_t column) {
  const std::size_t together = 4 / bytes_of(input);
  const std::size_t panel = column / panel_columns * packed_depth(input, depth) * panel_columns;
  return panel + (row / together * panel_columns + column % panel_columns) * together +
         row % together;
}

// How a matrix stands: (depth, width) row by row, or (width, depth) where it is transposed.
struct MatrixLayout {
  std::size_t depth = 0;
  std::size_t width = 0;
  bool transposed = false;
};

// Packs int8 weights into zeroed memory and adds up their columns, int32 (width,). Says whether they
// are narrow: none is beyond ±64.
bool pack_int8(const std::int8_t* source, const MatrixLayout& matrix, std::int8_t* packed,
                         std::int32_t* column_sums);
// Packs floats, as they are or rounded to bf16, into zeroed memory.
void pack_floats(const float* source, const MatrixLayout& matrix, float* packed);
void pack_bf16(const float* source, const MatrixLayout& matrix, std::uint16_t* packed);

}  // namespace bert_export::native
