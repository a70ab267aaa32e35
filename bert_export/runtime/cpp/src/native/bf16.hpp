// Brain floats: the upper half of a float32, rounded half to even.
#pragma once

#include <cstdint>
#include <cstring>

namespace bert_export::native {

inline float from_bf16(std::uint16_t half) {
  const std::uint32_t bits = std::uint32_t{half} << 16U;
  float number = 0.0F;
  std::memcpy(&number, &bits, sizeof(number));
  return number;
}

inline std::uint16_t to_bf16(float number) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &number, sizeof(bits));
  // What is no number keeps being none.
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) return static_cast<std::uint16_t>(bits >> 16U | 0x40U);
  return static_cast<std::uint16_t>((bits + 0x7FFFU + ((bits >> 16U) & 1U)) >> 16U);
}

}  // namespace bert_export::native
