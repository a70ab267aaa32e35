#include "native/packing.hpp"

#include <algorithm>

#include "native/bf16.hpp"

namespace bert_export::native {
namespace {

// Visits a matrix in the order in which the packed one is written: visit(row, column, number).
template <typename Number, typename Visit>
void visit_panels(const Number* source, const MatrixLayout& matrix, Visit visit) {
  const std::size_t row_step = matrix.transposed ? 1 : matrix.width;
  const std::size_t column_step = matrix.transposed ? matrix.depth : 1;
  for (std::size_t first = 0; first < matrix.width; first += panel_columns) {
    const std::size_t last = std::min(first + panel_columns, matrix.width);
    for (std::size_t row = 0; row < matrix.depth; ++row) {
      for (std::size_t column = first; column < last; ++column) {
        visit(row, column, source[row * row_step + column * column_step]);
      }
    }
  }
}

}  // namespace

bool pack_int8(const std::int8_t* source, const MatrixLayout& matrix, std::int8_t* packed,
               std::int32_t* column_sums) {
  constexpr std::size_t together = 4;
  constexpr std::size_t group_size = panel_columns * together;
  const std::size_t row_step = matrix.transposed ? 1 : matrix.width;
  const std::size_t column_step = matrix.transposed ? matrix.depth : 1;
  const std::size_t panel_size = packed_depth(Numbers::u8, matrix.depth) * panel_columns;
  int least = 0;
  int most = 0;
  for (std::size_t first = 0; first < matrix.width; first += panel_columns) {
    const std::size_t columns = std::min(panel_columns, matrix.width - first);
    std::int8_t* group = packed + first / panel_columns * panel_size;
    std::int32_t sums[panel_columns] = {};
    for (std::size_t row = 0; row < matrix.depth; row += together) {
      const std::size_t rows = std::min(together, matrix.depth - row);
      const std::int8_t* const from = source + row * row_step + first * column_step;
      // Whole groups of a matrix that is not transposed go 16 columns at a time.
      if (rows == together && columns == panel_columns && !matrix.transposed) {
        for (std::size_t column = 0; column < panel_columns; ++column) {
          for (std::size_t part = 0; part < together; ++part) {
            group[column * together + part] = from[part * row_step + column];
          }
        }
      } else {
        for (std::size_t column = 0; column < columns; ++column) {
          for (std::size_t part = 0; part < rows; ++part) {
            group[column * together + part] = from[part * row_step + column * column_step];
          }
        }
      }
      for (std::size_t column = 0; column < panel_columns; ++column) {
        for (std::size_t part = 0; part < together; ++part) {
          const int number = group[column * together + part];
          sums[column] += number;
          least = std::min(least, number);
          most = std::max(most, number);
        }
      }
      group += group_size;
    }
    std::copy(sums, sums + columns, column_sums + first);
  }
  return least >= -64 && most <= 64;
}

void pack_floats(const float* source, const MatrixLayout& matrix, float* packed) {
  visit_panels(source, matrix, [&](std::size_t row, std::size_t column, float number) {
    packed[packed_place(Numbers::f32, matrix.depth, row, column)] = number;
  });
}

void pack_bf16(const float* source, const MatrixLayout& matrix, std::uint16_t* packed) {
  visit_panels(source, matrix, [&](std::size_t row, std::size_t column, float number) {
    packed[packed_place(Numbers::bf16, matrix.depth, row, column)] = to_bf16(number);
  });
}

}  // namespace bert_export::native
