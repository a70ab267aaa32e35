// What a core's instructions give at most: products from registers, with nothing loaded or stored.
//
//     instruction_peak [SECONDS]
//
// For every set of kernels of this machine two lines as those of native_operations: the products of
// linear layers, and those of attention.

#include <cstdlib>

#include "fastest.hpp"

#if !defined(__x86_64__)
int main() { return 0; }
#else

#include <immintrin.h>

#include <cstdint>

namespace {

using bert_export::native::InstructionSet;

constexpr int repetitions = 4096;
constexpr int sums_at_once = 12;  // as many as hide an instruction's latency, within 16 registers

// Keeps what was computed, so that the compiler leaves the products in.
#define KEEP(sums) \
  for (auto& sum : sums) asm volatile("" : "+v"(sum))
#define KEEP_AVX(sums) \
  for (auto& sum : sums) asm volatile("" : "+x"(sum))

__attribute__((target("avx2"))) void integers_avx2() {
  const __m256i left = _mm256_set1_epi8(3), right = _mm256_set1_epi8(5);
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i sums[sums_at_once] = {};
  for (int i = 0; i < repetitions; ++i) {
    __m256i bytes = left;
    asm volatile("" : "+x"(bytes));  // or the two products would be made once
    for (auto& sum : sums) {
      const __m256i pairs = _mm256_maddubs_epi16(bytes, right);
      __m256i fours = _mm256_madd_epi16(pairs, ones);
      asm volatile("" : "+x"(fours));
      sum = _mm256_add_epi32(sum, fours);
    }
  }
  KEEP_AVX(sums);
}

__attribute__((target("avx2,avxvnni"))) void integers_avx_vnni() {
  const __m256i left = _mm256_set1_epi8(3), right = _mm256_set1_epi8(5);
  __m256i sums[sums_at_once] = {};
  for (int i = 0; i < repetitions; ++i) {
    for (auto& sum : sums) sum = _mm256_dpbusd_avx_epi32(sum, left, right);
    KEEP_AVX(sums);
  }
}

__attribute__((target("avx2,fma"))) void floats_256() {
  const __m256 left = _mm256_set1_ps(0.5F), right = _mm256_set1_ps(0.25F);
  __m256 sums[sums_at_once] = {};
  for (int i = 0; i < repetitions; ++i) {
    for (auto& sum : sums) sum = _mm256_fmadd_ps(left, right, sum);
    KEEP_AVX(sums);
  }
}

__attribute__((target("avx512f,avx512vnni"))) void integers_avx512_vnni() {
  const __m512i left = _mm512_set1_epi8(3), right = _mm512_set1_epi8(5);
  __m512i sums[sums_at_once] = {};
  for (int i = 0; i < repetitions; ++i) {
    for (auto& sum : sums) sum = _mm512_dpbusd_epi32(sum, left, right);
    KEEP(sums);
  }
}

__attribute__((target("avx512f"))) void floats_512() {
  const __m512 left = _mm512_set1_ps(0.5F), right = _mm512_set1_ps(0.25F);
  __m512 sums[sums_at_once] = {};
  for (int i = 0; i < repetitions; ++i) {
    for (auto& sum : sums) sum = _mm512_fmadd_ps(left, right, sum);
    KEEP(sums);
  }
}

// Four tiles of sums and two of numbers, all of 16 rows of 64 bytes.
struct TileConfiguration {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t bytes[16] = {64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16};
};
constexpr TileConfiguration configuration;

#define ZERO_TILES() \
  _tile_zero(0);     \
  _tile_zero(1);     \
  _tile_zero(2);     \
  _tile_zero(3);     \
  _tile_zero(4);     \
  _tile_zero(5)

__attribute__((target("amx-tile,amx-int8"))) void integers_amx() {
  _tile_loadconfig(&configuration);
  ZERO_TILES();
  for (int i = 0; i < repetitions; ++i) {
    _tile_dpbusd(0, 4, 5);
    _tile_dpbusd(1, 4, 5);
    _tile_dpbusd(2, 4, 5);
    _tile_dpbusd(3, 4, 5);
  }
  _tile_release();
}

__attribute__((target("amx-tile,amx-bf16"))) void floats_amx() {
  _tile_loadconfig(&configuration);
  ZERO_TILES();
  for (int i = 0; i < repetitions; ++i) {
    _tile_dpbf16ps(0, 4, 5);
    _tile_dpbf16ps(1, 4, 5);
    _tile_dpbf16ps(2, 4, 5);
    _tile_dpbf16ps(3, 4, 5);
  }
  _tile_release();
}

struct Peak {
  InstructionSet set;
  void (*integers)();
  double integer_operations;  // of one repetition: products and sums
  void (*floats)();
  double float_operations;
};

constexpr Peak peaks[] = {
    {InstructionSet::avx2, integers_avx2, 2.0 * 32 * sums_at_once, floats_256,
     2.0 * 8 * sums_at_once},
    {InstructionSet::avx_vnni, integers_avx_vnni, 2.0 * 32 * sums_at_once, floats_256,
     2.0 * 8 * sums_at_once},
    {InstructionSet::avx512_vnni, integers_avx512_vnni, 2.0 * 64 * sums_at_once, floats_512,
     2.0 * 16 * sums_at_once},
    {InstructionSet::amx, integers_amx, 4 * 2.0 * 16 * 16 * 64, floats_amx,
     4 * 2.0 * 16 * 16 * 32},
};

}  // namespace

int main(int count, char** arguments) {
  const double seconds = count > 1 ? std::atof(arguments[1]) : 0.2;
  for (const InstructionSet set : bert_export::native::available_sets()) {
    for (const Peak& peak : peaks) {
      if (peak.set != set) continue;
      measure(set, "peak of linear layers", repetitions * peak.integer_operations, seconds,
              peak.integers);
      measure(set, "peak of attention", repetitions * peak.float_operations, seconds, peak.floats);
    }
  }
  return 0;
}

#endif
