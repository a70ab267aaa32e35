// Sixteen floats at a time (AVX-512).
//
// Included once by each file of a set with 512 bits. Everything is local to that file: a function that
// two files shared would be linked once, with the flags of either.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace bert_export::native {
namespace {

using Floats = __m512;
using Integers = __m512i;
constexpr std::size_t lanes = 16;

inline Floats load(const float* from) { return _mm512_loadu_ps(from); }
inline void store(float* to, Floats x) { _mm512_storeu_ps(to, x); }
inline Floats all_of(float x) { return _mm512_set1_ps(x); }
inline Floats zeros() { return _mm512_setzero_ps(); }
inline Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
inline Floats subtract(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
inline Floats multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
inline Floats divide(Floats a, Floats b) { return _mm512_div_ps(a, b); }
// a * b + c, rounded once.
inline Floats fused(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
inline Floats smaller(Floats a, Floats b) { return _mm512_min_ps(a, b); }
inline Floats larger(Floats a, Floats b) { return _mm512_max_ps(a, b); }
inline Floats magnitude(Floats x) { return _mm512_abs_ps(x); }
inline float sum_of(Floats x) { return _mm512_reduce_add_ps(x); }
inline float largest_of(Floats x) { return _mm512_reduce_max_ps(x); }

inline __mmask16 first_lanes(std::size_t count) {
  return static_cast<__mmask16>(count >= lanes ? 0xFFFFU : (1U << count) - 1U);
}
// The first lanes of x, and others' behind them.
inline Floats first_of(Floats x, std::size_t count, Floats others) {
  return _mm512_mask_mov_ps(others, first_lanes(count), x);
}
inline Floats load_first(const float* from, std::size_t count) {
  return _mm512_maskz_loadu_ps(first_lanes(count), from);
}
inline void store_first(float* to, Floats x, std::size_t count) {
  _mm512_mask_storeu_ps(to, first_lanes(count), x);
}

inline Integers load(const std::int32_t* from) { return _mm512_loadu_si512(from); }
inline Integers add(Integers a, Integers b) { return _mm512_add_epi32(a, b); }
inline Floats to_floats(Integers x) { return _mm512_cvtepi32_ps(x); }
inline Floats from_int8(const std::int8_t* from, std::size_t count) {
  return _mm512_cvtepi32_ps(
      _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(first_lanes(count), from)));
}

// 2^x, for x at most 0: a polynomial on [0, 1), off by 8e-8 of the value at most.
inline Floats power_of_two(Floats x) {
  const Floats rest = _mm512_reduce_ps(x, 1);  // x less its floor
  Floats y = all_of(1.8775765e-3F);
  y = fused(y, rest, all_of(8.9893409e-3F));
  y = fused(y, rest, all_of(5.5826317e-2F));
  y = fused(y, rest, all_of(2.4015362e-1F));
  y = fused(y, rest, all_of(6.9315307e-1F));
  y = fused(y, rest, all_of(9.9999993e-1F));
  return _mm512_scalef_ps(y, x);
}

// How floats become bytes, see Quantizer.
struct ToBytes {
  Floats most;
  Integers zero_point;
  Integers zero_points_of_words;
  explicit ToBytes(std::int32_t zero)
      : most(all_of(static_cast<float>(255 - zero))),
        zero_point(_mm512_set1_epi32(zero)),
        zero_points_of_words(_mm512_set1_epi16(static_cast<short>(zero))) {}
  // Of numbers that are multiplied by the inverse scale.
  __m128i operator()(Floats x) const {
    const Integers levels = _mm512_cvtps_epi32(smaller(x, most));
    return _mm512_cvtusepi32_epi8(
        _mm512_max_epi32(_mm512_add_epi32(levels, zero_point), _mm512_setzero_si512()));
  }
  // Of four vectors, one behind the other: packing saturates as clamping would.
  Integers operator()(Floats a, Floats b, Floats c, Floats d) const {
    const auto levels = [this](Floats x) { return _mm512_cvtps_epi32(smaller(x, most)); };
    const Integers first =
        _mm512_adds_epi16(_mm512_packs_epi32(levels(a), levels(b)), zero_points_of_words);
    const Integers second =
        _mm512_adds_epi16(_mm512_packs_epi32(levels(c), levels(d)), zero_points_of_words);
    // Packing goes by 128 bits: each holds four bytes of every vector.
    const Integers order =
        _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_permutexvar_epi32(order, _mm512_packus_epi16(first, second));
  }
};
inline void store_bytes(std::uint8_t* to, Floats x, const ToBytes& to_bytes) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), to_bytes(x));
}
inline void store_bytes(std::uint8_t* to, Floats a, Floats b, Floats c, Floats d,
                        const ToBytes& to_bytes) {
  _mm512_storeu_si512(to, to_bytes(a, b, c, d));
}
inline void store_halves(std::uint8_t* lower, std::uint8_t* upper, Integers bytes) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(lower), _mm512_castsi512_si256(bytes));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(upper), _mm512_extracti64x4_epi64(bytes, 1));
}
inline void store_first_bytes(std::uint8_t* to, Floats x, const ToBytes& to_bytes,
                              std::size_t count) {
  _mm_mask_storeu_epi8(to, first_lanes(count), to_bytes(x));
}

inline __m256i bf16_of(Floats x) {
#if defined(__AVX512BF16__)
  return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x));
#else
  // Half to even, by adding just less than half; what is no number keeps being none.
  const Integers bits = _mm512_castps_si512(x);
  const Integers odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  Integers rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7FFF)), odd);
  const __mmask16 no_numbers = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  rounded = _mm512_mask_or_epi32(rounded, no_numbers, bits, _mm512_set1_epi32(0x400000));
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16));
#endif
}
inline void store_bf16(std::uint16_t* to, Floats x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), bf16_of(x));
}
inline void store_first_bf16(std::uint16_t* to, Floats x, std::size_t count) {
  _mm256_mask_storeu_epi16(to, first_lanes(count), bf16_of(x));
}
inline Floats load_bf16(const std::uint16_t* from) {
  const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}
inline Floats load_first_bf16(const std::uint16_t* from, std::size_t count) {
  const __m256i halves = _mm256_maskz_loadu_epi16(first_lanes(count), from);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}


// Two bf16 of every lane as floats.
inline Floats even_floats(Integers halves) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(halves, 16));
}
inline Floats odd_floats(Integers halves) {
  return _mm512_castsi512_ps(
      _mm512_and_si512(halves, _mm512_set1_epi32(static_cast<int>(0xFFFF0000U))));
}
inline Integers load_pairs(const std::uint16_t* from) { return _mm512_loadu_si512(from); }
inline Integers all_pairs(const std::uint16_t* pair) {
  return _mm512_broadcastd_epi32(_mm_loadu_si32(pair));
}
inline Floats rounded_to_bf16(Floats x) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bf16_of(x)), 16));
}

}  // namespace
}  // namespace bert_export::native
