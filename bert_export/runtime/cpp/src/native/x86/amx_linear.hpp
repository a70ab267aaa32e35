// Linear layers by AMX. Included behind a vector header.
#pragma once

#include "native/kernels.hpp"
#include "native/packing.hpp"
#include "native/x86/amx_tiles.hpp"
#include "native/x86/finish.hpp"

namespace bert_export::native {
namespace {

// A block of sums that becomes output. Where that takes long, as with an activation, its rows are
// finished bit by bit between the products of the next block: tiles multiply beside the other units.
template <typename Sum>
class Waiting {
 public:
  Waiting(const Linear& linear, const LinearCall& call) : linear_(linear), call_(call) {}

  // `steps` is how often it is called until the next block waits.
  void wait(const Sums<Sum>& block, std::size_t steps) {
    complete();
    block_ = block;
    if (linear_.activation == Activation::none) return complete();
    const std::size_t slices = (block.rows + slice - 1) / slice;
    every_ = steps < slices ? 1 : steps / slices;
    count_ = 0;
  }

  // Between two steps of products.
  void operator()() {
    if (block_.rows == 0 || ++count_ < every_) return;
    count_ = 0;
    finish_rows(block_.rows < slice ? block_.rows : slice);
  }

  void complete() {
    if (block_.rows != 0) finish_rows(block_.rows);
  }

 private:
  static constexpr std::size_t slice = 8;  // rows

  void finish_rows(std::size_t rows) {
    Sums<Sum> part = block_;
    part.rows = rows;
    finish<Sum>(linear_, call_, part);
    block_.sums += rows * block_.stride;
    block_.row += rows;
    block_.rows -= rows;
  }

  const Linear& linear_;
  const LinearCall& call_;
  Sums<Sum> block_{};
  std::size_t every_ = 1;
  std::size_t count_ = 0;
};

// About half of the first cache, and half of the second.
constexpr std::size_t resident_rows = 24 * 1024;
constexpr std::size_t resident_weights = 1024 * 1024;

template <typename Kind>
void run_tiles(const Linear& linear, const LinearCall& call) {
  using Sum = typename Kind::Sum;
  constexpr std::size_t block = 2 * tile_rows;
  const Tiles tiles;
  alignas(64) Sum both[2][block * block];
  bool second = false;  // of the two, the one that is free
  Waiting<Sum> waiting(linear, call);
  const std::size_t depth = packed_depth(linear.input, linear.depth);
  const std::size_t steps = depth / Kind::depth;
  const std::size_t panel_stride = depth * panel_columns;
  const auto* const input = static_cast<const typename Kind::Input*>(call.input);
  const auto* const weights = static_cast<const typename Kind::Weight*>(linear.weights);

  // Some rows stay in the first cache while all weights pass by them, two panels at a time; or all
  // rows pass by two panels, where a block of rows is too large for that, or all weights are.
  const std::size_t bytes_of_row = depth * sizeof(typename Kind::Input);
  const std::size_t resident = resident_rows / bytes_of_row / block * block;
  const bool deep = resident == 0;
  const bool weights_stay =
      (call.last_column - call.first_column) * depth * sizeof(typename Kind::Weight) <=
      resident_weights;
  const std::size_t together = deep || !weights_stay ? call.rows : resident;
  for (std::size_t first = 0; first < call.rows; first += together) {
    const std::size_t end = call.rows - first < together ? call.rows : first + together;
    for (std::size_t column = call.first_column; column < call.last_column; column += block) {
      const auto* const panel = weights + column / panel_columns * panel_stride;
      for (std::size_t row = first; row < end; row += block) {
        Sum* const sums = both[second ? 1 : 0];
        const auto* const left = input + row * call.input_stride;
        const std::size_t rows = end - row < block ? end - row : block;
        if (rows <= tile_rows) {
          multiply_tiles_1x2<Kind>(left, call.input_stride, panel, panel_stride, steps, sums, block,
                                   waiting);
        } else if (deep) {
          multiply_deep_tiles_2x2<Kind>(left, call.input_stride, panel, panel_stride, steps, sums,
                                        block, waiting);
        } else {
          multiply_tiles_2x2<Kind>(left, call.input_stride, panel, panel_stride, steps, sums, block,
                                   waiting);
        }
        waiting.wait({sums, block, row, rows, column, block}, steps);
        second = !second;
      }
    }
  }
  waiting.complete();
}

}  // namespace
}  // namespace bert_export::native
