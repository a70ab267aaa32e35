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
}  // namespace
}  // namespace bert_export::native
