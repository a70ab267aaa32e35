// Eight floats at a time (AVX2 with FMA).
//
// Included once by each file of a set with 256 bits. Everything is local to that file: a function that
// two files shared would be linked once, with the flags of either.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace bert_export::native {
namespace {

using Floats = __m256;
using Integers = __m256i;
constexpr std::size_t lanes = 8;

inline Floats load(const float* from) { return _mm256_loadu_ps(from); }
inline void store(float* to, Floats x) { _mm256_storeu_ps(to, x); }
inline Floats all_of(float x) { return _mm256_set1_ps(x); }
inline Floats zeros() { return _mm256_setzero_ps(); }
inline Floats add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
inline Floats subtract(Floats a, Floats b) { return _mm256_sub_ps(a, b); }
inline Floats multiply(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
inline Floats divide(Floats a, Floats b) { return _mm256_div_ps(a, b); }
// a * b + c, rounded once.
inline Floats fused(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
inline Floats smaller(Floats a, Floats b) { return _mm256_min_ps(a, b); }
inline Floats larger(Floats a, Floats b) { return _mm256_max_ps(a, b); }
inline Floats magnitude(Floats x) { return _mm256_andnot_ps(all_of(-0.0F), x); }

inline float sum_of(Floats x) {
  __m128 sum = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
  return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}
inline float largest_of(Floats x) {
  __m128 most = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  most = _mm_max_ps(most, _mm_movehl_ps(most, most));
  return _mm_cvtss_f32(_mm_max_ss(most, _mm_movehdup_ps(most)));
}

inline __m256i first_lanes(std::size_t count) {
  const __m256i places = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count < lanes ? count : lanes)),
                            places);
}
// The first lanes of x, and others' behind them.
inline Floats first_of(Floats x, std::size_t count, Floats others) {
  return _mm256_blendv_ps(others, x, _mm256_castsi256_ps(first_lanes(count)));
}
inline Floats load_first(const float* from, std::size_t count) {
  return _mm256_maskload_ps(from, first_lanes(count));
}
inline void store_first(float* to, Floats x, std::size_t count) {
  _mm256_maskstore_ps(to, first_lanes(count), x);
}

inline Integers load(const std::int32_t* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}
inline Integers add(Integers a, Integers b) { return _mm256_add_epi32(a, b); }
inline Floats to_floats(Integers x) { return _mm256_cvtepi32_ps(x); }
inline Floats from_int8(const std::int8_t* from, std::size_t count) {
  alignas(8) std::int8_t bytes[lanes] = {};
  for (std::size_t lane = 0; lane < count && lane < lanes; ++lane) bytes[lane] = from[lane];
  return _mm256_cvtepi32_ps(
      _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes))));
}

// 2^x, for x at most 0: a polynomial on [0, 1), off by 8e-8 of the value at most.
inline Floats power_of_two(Floats x) {
  // Below that it is nothing beside 1, and its products would be too small for fast arithmetic.
  x = larger(x, all_of(-100.0F));
  const Floats whole = _mm256_floor_ps(x);
  const Floats rest = subtract(x, whole);
  Floats y = all_of(1.8775765e-3F);
  y = fused(y, rest, all_of(8.9893409e-3F));
  y = fused(y, rest, all_of(5.5826317e-2F));
  y = fused(y, rest, all_of(2.4015362e-1F));
  y = fused(y, rest, all_of(6.9315307e-1F));
  y = fused(y, rest, all_of(9.9999993e-1F));
  const Integers power = _mm256_slli_epi32(_mm256_cvtps_epi32(whole), 23);
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(y), power));
}

// How floats become bytes, see Quantizer.
struct ToBytes {
  Floats least;
  Floats most;
  Integers zero_point;
  explicit ToBytes(std::int32_t zero)
      : least(all_of(static_cast<float>(-zero))),
        most(all_of(static_cast<float>(255 - zero))),
        zero_point(_mm256_set1_epi32(zero)) {}
  // Of numbers that are multiplied by the inverse scale; in the lower half.
  __m128i operator()(Floats x) const {
    const Integers levels =
        _mm256_add_epi32(_mm256_cvtps_epi32(larger(smaller(x, most), least)), zero_point);
    const __m128i words =
        _mm_packs_epi32(_mm256_castsi256_si128(levels), _mm256_extracti128_si256(levels, 1));
    return _mm_packus_epi16(words, words);
  }
};
inline void store_bytes(std::uint8_t* to, Floats x, const ToBytes& to_bytes) {
  _mm_storel_epi64(reinterpret_cast<__m128i*>(to), to_bytes(x));
}
inline void store_bytes(std::uint8_t* to, Floats a, Floats b, Floats c, Floats d,
                        const ToBytes& to_bytes) {
  store_bytes(to, a, to_bytes);
  store_bytes(to + lanes, b, to_bytes);
  store_bytes(to + 2 * lanes, c, to_bytes);
  store_bytes(to + 3 * lanes, d, to_bytes);
}
inline void store_first_bytes(std::uint8_t* to, Floats x, const ToBytes& to_bytes,
                              std::size_t count) {
  alignas(8) std::uint8_t bytes[lanes];
  store_bytes(bytes, x, to_bytes);
  for (std::size_t lane = 0; lane < count && lane < lanes; ++lane) to[lane] = bytes[lane];
}

inline __m128i bf16_of(Floats x) {
  // Half to even, by adding just less than half; what is no number keeps being none.
  const Integers bits = _mm256_castps_si256(x);
  const Integers odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  Integers rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7FFF)), odd);
  const Integers no_number = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  rounded = _mm256_blendv_epi8(rounded, no_number,
                               _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q)));
  rounded = _mm256_srli_epi32(rounded, 16);
  return _mm_packus_epi32(_mm256_castsi256_si128(rounded), _mm256_extracti128_si256(rounded, 1));
}
inline void store_bf16(std::uint16_t* to, Floats x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bf16_of(x));
}
inline void store_first_bf16(std::uint16_t* to, Floats x, std::size_t count) {
  alignas(16) std::uint16_t halves[lanes];
  store_bf16(halves, x);
  for (std::size_t lane = 0; lane < count && lane < lanes; ++lane) to[lane] = halves[lane];
}
inline Floats load_bf16(const std::uint16_t* from) {
  const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}
inline Floats load_first_bf16(const std::uint16_t* from, std::size_t count) {
  if (count >= lanes) return load_bf16(from);
  alignas(16) std::uint16_t some[lanes] = {};
  for (std::size_t lane = 0; lane < count; ++lane) some[lane] = from[lane];
  return load_bf16(some);
}


// Two bf16 of every lane as floats.
inline Floats even_floats(Integers halves) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(halves, 16));
}
inline Floats odd_floats(Integers halves) {
  return _mm256_castsi256_ps(
      _mm256_and_si256(halves, _mm256_set1_epi32(static_cast<int>(0xFFFF0000U))));
}
inline Integers load_pairs(const std::uint16_t* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}
inline Integers all_pairs(const std::uint16_t* pair) {
  return _mm256_broadcastd_epi32(_mm_loadu_si32(pair));
}
inline Floats rounded_to_bf16(Floats x) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bf16_of(x)), 16));
}

}  // namespace
}  // namespace bert_export::native
