// Numbers of a graph's output, as they lie in its memory.
#pragma once

#include <cstddef>
#include <vector>

namespace bert_export::decoding {

// float32 (rows, columns) that someone else owns.
struct Matrix {
  const float* data;
  std::size_t rows;
  std::size_t columns;

  const float* row(std::size_t index) const { return data + index * columns; }
};

// float32 (size,) that someone else owns.
struct Vector {
  const float* data;
  std::size_t size;

  Vector(const float* begin, std::size_t count) : data(begin), size(count) {}
  Vector(const std::vector<float>& numbers) : data(numbers.data()), size(numbers.size()) {}  // NOLINT

  float operator[](std::size_t index) const { return data[index]; }
  const float* begin() const { return data; }
  const float* end() const { return data + size; }
};

}  // namespace bert_export::decoding
