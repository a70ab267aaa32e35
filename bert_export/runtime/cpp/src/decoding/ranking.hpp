// Orders in which equal values keep their places.
#pragma once

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <vector>

namespace bert_export::decoding {

// Indices of the `count` largest of `size` values, largest first; of equal ones the earlier first.
template <typename Value>
std::vector<std::size_t> largest(std::size_t size, std::size_t count, Value value) {
  std::vector<std::size_t> order(size);
  std::iota(order.begin(), order.end(), std::size_t{0});
  count = std::min(count, size);
  const auto before = [&](std::size_t left, std::size_t right) {
    return value(left) != value(right) ? value(left) > value(right) : left < right;
  };
  const auto middle = order.begin() + static_cast<std::ptrdiff_t>(count);
  std::partial_sort(order.begin(), middle, order.end(), before);
  order.resize(count);
  return order;
}

// Index of the largest of several values; of equal ones the first.
template <typename Numbers>
std::size_t argmax(const Numbers* numbers, std::size_t size) {
  return static_cast<std::size_t>(std::max_element(numbers, numbers + size) - numbers);
}

}  // namespace bert_export::decoding
