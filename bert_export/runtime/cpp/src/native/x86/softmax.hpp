// The numerators of a softmax. Included behind a vector header.
#pragma once

#include "native/kernels.hpp"

namespace bert_export::native {
namespace {

inline void store_numerators(std::uint16_t* to, Floats x) { store_bf16(to, x); }
inline void store_numerators(float* to, Floats x) { store(to, x); }

// e^((score - the most) * scale) of the scores that a query sees, and 0 for those up to `padded`; the
// sum of what is not rounded yet.
template <bool rounded, typename Number>
inline float run_softmax(const float* scores, std::size_t seen, std::size_t padded, float scale,
                         Number* numerators) {
  const std::size_t whole = seen / lanes * lanes;
  const Floats lowest = all_of(-__builtin_inff());
  Floats most_of_lane = lowest;
  for (std::size_t key = 0; key < whole; key += lanes) {
    most_of_lane = larger(most_of_lane, load(scores + key));
  }
  if (whole < seen) {
    most_of_lane = larger(most_of_lane, first_of(load(scores + whole), seen - whole, lowest));
  }
  const Floats most = all_of(largest_of(most_of_lane));
  const Floats factor = all_of(scale * 1.44269504F);
  const auto numerators_of = [&](std::size_t key) {
    return power_of_two(multiply(subtract(load(scores + key), most), factor));
  };
  const auto keep = [&](std::size_t key, Floats numerator) {
    if constexpr (rounded && sizeof(Number) == sizeof(float)) {
      numerator = rounded_to_bf16(numerator);
    }
    store_numerators(numerators + key, numerator);
  };
  Floats sum = zeros();
  for (std::size_t key = 0; key < whole; key += lanes) {
    const Floats numerator = numerators_of(key);
    sum = add(sum, numerator);
    keep(key, numerator);
  }
  std::size_t key = whole;
  if (key < seen) {
    const Floats numerator = first_of(numerators_of(key), seen - key, zeros());
    sum = add(sum, numerator);
    keep(key, numerator);
    key += lanes;
  }
  for (; key < padded; key += lanes) keep(key, zeros());
  return sum_of(sum);
}

// A row of sums, divided and stored as the first columns of an output's row.
inline void store_head(const Attention& attention, const float* sums, float divisor, void* output,
                       std::size_t place) {
  const Floats factor = all_of(1.0F / divisor);
  const Floats inverse_scale = all_of(attention.quantizer.inverse_scale);
  const ToBytes to_bytes(attention.quantizer.zero_point);
  for (std::size_t column = 0; column < attention.head_size; column += lanes) {
    const std::size_t count = attention.head_size - column;
    const Floats y = multiply(load(sums + column), factor);
    switch (attention.output) {
      case Numbers::u8:
        store_first_bytes(static_cast<std::uint8_t*>(output) + place + column,
                          multiply(y, inverse_scale), to_bytes, count);
        break;
      case Numbers::bf16:
        store_first_bf16(static_cast<std::uint16_t*>(output) + place + column, y, count);
        break;
      case Numbers::f32:
        store_first(static_cast<float*>(output) + place + column, y, count);
        break;
    }
  }
}

// Gives out aligned parts of a call's scratch.
class Scratch {
 public:
  explicit Scratch(void* memory) : next_(static_cast<std::uint8_t*>(memory)) {}
  template <typename Number>
  Number* take(std::size_t count) {
    auto* const taken = reinterpret_cast<Number*>(next_);
    next_ += rounded_up(count * sizeof(Number), 64);
    return taken;
  }

 private:
  std::uint8_t* next_;
};

}  // namespace
}  // namespace bert_export::native
