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
  std::fill(column_sums, column_sums + matrix.width, 0);
  int largest = 0;
  visit_panels(source, matrix, [&](std::size_t row, std::size_t column, std::int8_t number) {
    packed[packed_place(Numbers::u8, matrix.depth, row, column)] = number;
    column_sums[column] += number;
    largest = std::max(largest, number < 0 ? -number : number);
  });
  return largest <= 64;
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
