// AVX2 with FMA.
#include "native/kernel_tables.hpp"
#include "native/x86/vector_avx2.hpp"

#include "native/x86/attention.hpp"
#include "native/x86/linear.hpp"
#include "native/x86/rows.hpp"

namespace bert_export::native {
namespace {

// Products of bytes are summed in pairs of 16 bits, where they must fit.
struct Step {
  using Input = std::uint8_t;
  using Weight = std::int8_t;
  using Sum = std::int32_t;
  using Vector = __m256i;
  using Right = __m256i;
  static constexpr std::size_t together = 4;
  static constexpr std::size_t block_rows = 4;
  static constexpr std::size_t block_vectors = 2;
  static Vector zero() { return _mm256_setzero_si256(); }
  static Vector right(const std::int8_t* weights) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(weights));
  }
  static Vector bytes(const std::uint8_t* x) { return _mm256_broadcastd_epi32(_mm_loadu_si32(x)); }
  // Adds a times b to the sum, `times` times.
  static Vector add_products(Vector sum, Vector a, Vector b, short times) {
    const Vector pairs = _mm256_maddubs_epi16(a, b);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(times)));
  }
  static void store(std::int32_t* to, Vector x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), x);
  }
};

// Weights within ±64: 2 * 255 * 64 fits.
struct NarrowStep : Step {
  static Vector left(const std::uint8_t* x) { return bytes(x); }
  static Vector multiply_add(Vector sum, Vector a, Vector b) { return add_products(sum, a, b, 1); }
};

// Others: x is twice its upper seven bits, and its lowest one; 2 * 127 * 128 fits.
struct WideStep : Step {
  struct Parts {
    Vector upper;
    Vector lowest;
  };
  static Parts left(const std::uint8_t* x) {
    const Vector all = bytes(x);
    return {_mm256_and_si256(_mm256_srli_epi32(all, 1), _mm256_set1_epi8(0x7F)),
            _mm256_and_si256(all, _mm256_set1_epi8(1))};
  }
  static Vector multiply_add(Vector sum, const Parts& a, Vector b) {
    return add_products(add_products(sum, a.upper, b, 2), a.lowest, b, 1);
  }
};

void run_integers(const Linear& linear, const LinearCall& call) {
  if (linear.narrow) return run_integer_blocks<NarrowStep>(linear, call);
  run_integer_blocks<WideStep>(linear, call);
}

}  // namespace

const Kernels avx2_kernels{InstructionSet::avx2, run_linear, run_norm, run_attention, run_embed};

}  // namespace bert_export::native
