// What becomes of a product's sums: scale, bias, activation, residual, and the number format of the
// output. Included behind a vector header.
#pragma once

#include "native/kernels.hpp"
#include "native/x86/activations.hpp"

namespace bert_export::native {
namespace {

// A block of sums, (rows, columns), which belongs at a place of the output.
template <typename Sum>
struct Sums {
  const Sum* sums;
  std::size_t stride;
  std::size_t row;
  std::size_t rows;
  std::size_t column;
  std::size_t columns;  // a multiple of panel_columns
};

// The layer's numbers before the activation, for the columns of one vector.
struct Scaled {
  Integers correction;
  Floats scale;
  Floats bias;
  Scaled(const Linear& linear, std::size_t column)
      : correction(load(linear.correction + column)),
        scale(load(linear.scale + column)),
        bias(load(linear.bias + column)) {}
  Floats operator()(const std::int32_t* sums) const {
    return fused(to_floats(add(load(sums), correction)), scale, bias);
  }
};
struct Biased {
  Floats bias;
  Biased(const Linear& linear, std::size_t column) : bias(load(linear.bias + column)) {}
  Floats operator()(const float* sums) const { return add(load(sums), bias); }
};
inline Scaled linear_part(const Linear& linear, std::size_t column, const std::int32_t*) {
  return {linear, column};
}
inline Biased linear_part(const Linear& linear, std::size_t column, const float*) {
  return {linear, column};
}

#if defined(__AVX512F__)
// Bytes of two vectors of columns: two rows at a time fill a vector of bytes.
template <typename Activate, typename Sum>
void finish_bytes(const Linear& linear, const LinearCall& call, const Sums<Sum>& block) {
  const Levels<Activate> levels(linear.activation, linear.quantizer.inverse_scale);
  const ToBytes to_bytes(linear.quantizer.zero_point);
  for (std::size_t part = 0; part < block.columns; part += 2 * lanes) {
    const std::size_t column = block.column + part;
    const auto left = linear_part(linear, column, block.sums);
    const auto right = linear_part(linear, column + lanes, block.sums);
    const auto of_left = [&](const Sum* sums) { return levels(left(sums)); };
    const auto of_right = [&](const Sum* sums) { return levels(right(sums + lanes)); };
    const Sum* sums = block.sums + part;
    auto* output =
        static_cast<std::uint8_t*>(call.output) + block.row * call.output_stride + column;
    std::size_t row = 0;
    for (; row + 2 <= block.rows; row += 2) {
      const Sum* const next = sums + block.stride;
      store_halves(output, output + call.output_stride,
                   to_bytes(of_left(sums), of_right(sums), of_left(next), of_right(next)));
      sums += 2 * block.stride;
      output += 2 * call.output_stride;
    }
    if (row < block.rows) {
      store_bytes(output, of_left(sums), to_bytes);
      store_bytes(output + lanes, of_right(sums), to_bytes);
    }
  }
}
#endif

template <typename Activate, typename Sum>
void finish_as(const Linear& linear, const LinearCall& call, const Sums<Sum>& block) {
#if defined(__AVX512F__)
  if (linear.output == Numbers::u8) return finish_bytes<Activate>(linear, call, block);
#endif
  const Activate activate(linear.activation);
  const Levels<Activate> levels(linear.activation, linear.quantizer.inverse_scale);
  const ToBytes to_bytes(linear.quantizer.zero_point);
  for (std::size_t part = 0; part < block.columns; part += lanes) {
    const std::size_t column = block.column + part;
    const auto linear_of = linear_part(linear, column, block.sums);
    const Sum* sums = block.sums + part;
    const std::size_t first = block.row * call.output_stride + column;
    switch (linear.output) {
      case Numbers::u8: {
        auto* output = static_cast<std::uint8_t*>(call.output) + first;
        for (std::size_t row = 0; row < block.rows; ++row) {
          store_bytes(output, levels(linear_of(sums)), to_bytes);
          sums += block.stride;
          output += call.output_stride;
        }
        break;
      }
      case Numbers::bf16: {
        auto* output = static_cast<std::uint16_t*>(call.output) + first;
        for (std::size_t row = 0; row < block.rows; ++row) {
          store_bf16(output, activate(linear_of(sums)));
          sums += block.stride;
          output += call.output_stride;
        }
        break;
      }
      case Numbers::f32: {
        auto* output = static_cast<float*>(call.output) + first;
        const float* residual = call.residual;
        if (residual != nullptr) residual += block.row * call.residual_stride + column;
        for (std::size_t row = 0; row < block.rows; ++row) {
          Floats y = activate(linear_of(sums));
          if (residual != nullptr) {
            y = add(y, load(residual));
            residual += call.residual_stride;
          }
          store(output, y);
          sums += block.stride;
          output += call.output_stride;
        }
        break;
      }
    }
  }
}

template <typename Sum>
void finish(const Linear& linear, const LinearCall& call, const Sums<Sum>& block) {
  switch (linear.activation) {
    case Activation::none: return finish_as<Keep>(linear, call, block);
    case Activation::gelu: return finish_as<Gelu>(linear, call, block);
    default: return finish_as<Other>(linear, call, block);
  }
}

}  // namespace
}  // namespace bert_export::native
