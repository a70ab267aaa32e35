// Products of bytes by AVX512-VNNI. Included behind a vector header.
#pragma once

#include "native/x86/blocks.hpp"

namespace bert_export::native {
namespace {

struct IntegerStep {
  using Input = std::uint8_t;
  using Weight = std::int8_t;
  using Sum = std::int32_t;
  using Vector = __m512i;
  using Right = __m512i;
  static constexpr std::size_t together = 4;
  static constexpr std::size_t block_rows = 6;
  static constexpr std::size_t block_vectors = 4;
  static Vector zero() { return _mm512_setzero_si512(); }
  static Vector left(const std::uint8_t* x) { return _mm512_broadcastd_epi32(_mm_loadu_si32(x)); }
  static Vector right(const std::int8_t* weights) { return _mm512_loadu_si512(weights); }
  static Vector multiply_add(Vector sum, Vector a, Vector b) {
    return _mm512_dpbusd_epi32(sum, a, b);
  }
  static void store(std::int32_t* to, Vector x) { _mm512_storeu_si512(to, x); }
};

}  // namespace
}  // namespace bert_export::native
