// 256 bits with AVX-VNNI.
#include "native/kernel_tables.hpp"
#include "native/x86/vector_avx2.hpp"

#include "native/x86/attention.hpp"
#include "native/x86/linear.hpp"
#include "native/x86/rows.hpp"

namespace bert_export::native {
namespace {

struct IntegerStep {
  using Input = std::uint8_t;
  using Weight = std::int8_t;
  using Sum = std::int32_t;
  using Vector = __m256i;
  using Right = __m256i;
  static constexpr std::size_t together = 4;
  static constexpr std::size_t block_rows = 6;
  static constexpr std::size_t block_vectors = 2;
  static Vector zero() { return _mm256_setzero_si256(); }
  static Vector left(const std::uint8_t* x) { return _mm256_broadcastd_epi32(_mm_loadu_si32(x)); }
  static Vector right(const std::int8_t* weights) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(weights));
  }
  static Vector multiply_add(Vector sum, Vector a, Vector b) {
    return _mm256_dpbusd_avx_epi32(sum, a, b);
  }
  static void store(std::int32_t* to, Vector x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), x);
  }
};

void run_integers(const Linear& linear, const LinearCall& call) {
  run_integer_blocks<IntegerStep>(linear, call);
}

}  // namespace

const Kernels avx_vnni_kernels{InstructionSet::avx_vnni, run_linear, run_norm, run_attention,
                               run_embed};

}  // namespace bert_export::native
