// Linear layers by AMX. Included behind a vector header.
#pragma once

#include "native/kernels.hpp"
#include "native/packing.hpp"
#include "native/x86/activations.hpp"
#include "native/x86/amx_tiles.hpp"

namespace bert_export::native {
namespace {

// What is added to the products of one vector of columns: integers begin at the correction, and take
// scale and bias here.
template <typename Sum>
struct ColumnsOf;
template <>
struct ColumnsOf<std::int32_t> {
  Floats scale;
  Floats bias;
  void take(const Linear& linear, std::size_t column) {
    scale = load(linear.scale + column);
    bias = load(linear.bias + column);
  }
  Floats operator()(const std::int32_t* sums) const {
    return fused(to_floats(load(sums)), scale, bias);
  }
};
template <>
struct ColumnsOf<float> {
  Floats bias;
  void take(const Linear& linear, std::size_t column) { bias = load(linear.bias + column); }
  Floats operator()(const float* sums) const { return add(load(sums), bias); }
};

// A block of 32 columns of sums that becomes output, two rows at a time between the products of the
// next block: tiles multiply beside the other units. Constants stay in registers meanwhile.
template <typename Sum, typename Activate, Numbers output>
class Waiting {
 public:
  static constexpr std::size_t columns = 2 * lanes;

  Waiting(const Linear& linear, const LinearCall& call)
      : linear_(linear),
        activate_(linear.activation),
        levels_(linear.activation, linear.quantizer.inverse_scale),
        to_bytes_(linear.quantizer.zero_point),
        output_(static_cast<std::uint8_t*>(call.output)),
        row_bytes_(call.output_stride * bytes_of(output)),
        residual_(call.residual),
        residual_stride_(call.residual_stride) {}

  // Sums of (rows, columns); it is called `steps` times until the next block waits.
  void wait(const Sum* sums, std::size_t row, std::size_t rows, std::size_t column,
            std::size_t steps) {
    complete();
    sums_ = sums;
    left_ = rows;
    rows_ = (rows / 2 + steps) / steps * 2;
    to_ = output_ + row * row_bytes_ + column * bytes_of(output);
    if (residual_ != nullptr) from_ = residual_ + row * residual_stride_ + column;
    lower_.take(linear_, column);
    upper_.take(linear_, column + lanes);
  }

  // Between two steps of products.
  void operator()() {
    if (left_ != 0) finish_rows(left_ < rows_ ? left_ : rows_);
  }

  void complete() {
    if (left_ != 0) finish_rows(left_);
  }

 private:
  void finish_rows(std::size_t rows) {
    const Sum* sums = sums_;
    std::uint8_t* to = to_;
    const float* from = from_;
    for (std::size_t row = 0; row < rows; row += 2) {
      // A last row by itself is computed twice.
      const std::size_t next = row + 1 < rows ? 1 : 0;
      const Sum* const other = sums + next * columns;
      std::uint8_t* const other_to = to + next * row_bytes_;
      if constexpr (output == Numbers::u8) {
        store_halves(to, other_to,
                     to_bytes_(levels_(lower_(sums)), levels_(upper_(sums + lanes)),
                               levels_(lower_(other)), levels_(upper_(other + lanes))));
      } else if constexpr (output == Numbers::bf16) {
        store_row(to, sums);
        store_row(other_to, other);
      } else {
        store_row(to, sums, from);
        store_row(other_to, other, from + next * residual_stride_);
        from += 2 * residual_stride_;
      }
      sums += 2 * columns;
      to += 2 * row_bytes_;
    }
    sums_ = sums;
    to_ = to;
    from_ = from;
    left_ -= rows;
  }

  void store_row(std::uint8_t* to, const Sum* sums) const {
    const auto pairs = _mm512_cvtne2ps_pbh(activate_(upper_(sums + lanes)), activate_(lower_(sums)));
    _mm512_storeu_si512(to, reinterpret_cast<__m512i>(pairs));
  }

  void store_row(std::uint8_t* to, const Sum* sums, const float* residual) const {
    Floats lower = activate_(lower_(sums));
    Floats upper = activate_(upper_(sums + lanes));
    if (residual_ != nullptr) {
      lower = add(lower, load(residual));
      upper = add(upper, load(residual + lanes));
    }
    auto* const numbers = reinterpret_cast<float*>(to);
    store(numbers, lower);
    store(numbers + lanes, upper);
  }

  const Linear& linear_;
  Activate activate_;
  Levels<Activate> levels_;
  ToBytes to_bytes_;
  std::uint8_t* output_;
  std::size_t row_bytes_;
  const float* residual_;
  std::size_t residual_stride_;
  const Sum* sums_ = nullptr;
  std::uint8_t* to_ = nullptr;
  const float* from_ = nullptr;
  std::size_t left_ = 0;  // rows
  std::size_t rows_ = 0;  // between two steps
  ColumnsOf<Sum> lower_{};
  ColumnsOf<Sum> upper_{};
};

// About half of the first cache, and half of the second.
constexpr std::size_t resident_rows = 24 * 1024;
constexpr std::size_t resident_weights = 1024 * 1024;

template <typename Kind, typename Activate, Numbers output>
void run_tiles(const Linear& linear, const LinearCall& call) {
  using Sum = typename Kind::Sum;
  constexpr std::size_t block = 2 * tile_rows;
  const Tiles tiles;
  alignas(64) Sum both[2][block * block];
  bool second = false;  // of the two, the one that is free
  Waiting<Sum, Activate, output> waiting(linear, call);
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
      const Sum* start = nullptr;
      if constexpr (sizeof(typename Kind::Input) == 1) start = linear.correction + column;
      for (std::size_t row = first; row < end; row += block) {
        Sum* const sums = both[second ? 1 : 0];
        const auto* const left = input + row * call.input_stride;
        const std::size_t rows = end - row < block ? end - row : block;
        if (rows <= tile_rows) {
          multiply_tiles_1x2<Kind>(left, call.input_stride, panel, panel_stride, steps, start, sums,
                                   block, waiting);
        } else if (deep) {
          multiply_deep_tiles_2x2<Kind>(left, call.input_stride, panel, panel_stride, steps, start,
                                        sums, block, waiting);
        } else {
          multiply_tiles_2x2<Kind>(left, call.input_stride, panel, panel_stride, steps, start, sums,
                                   block, waiting);
        }
        waiting.wait(sums, row, rows, column, steps);
        second = !second;
      }
    }
  }
  waiting.complete();
}

template <typename Kind, typename Activate>
void run_tiles(const Linear& linear, const LinearCall& call) {
  switch (linear.output) {
    case Numbers::u8: return run_tiles<Kind, Activate, Numbers::u8>(linear, call);
    case Numbers::bf16: return run_tiles<Kind, Activate, Numbers::bf16>(linear, call);
    case Numbers::f32: return run_tiles<Kind, Activate, Numbers::f32>(linear, call);
  }
}

template <typename Kind>
void run_tiles(const Linear& linear, const LinearCall& call) {
  switch (linear.activation) {
    case Activation::none: return run_tiles<Kind, Keep>(linear, call);
    case Activation::gelu: return run_tiles<Kind, Gelu>(linear, call);
    default: return run_tiles<Kind, Other>(linear, call);
  }
}

}  // namespace
}  // namespace bert_export::native
