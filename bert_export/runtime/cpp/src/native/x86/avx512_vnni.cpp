// AVX-512 with VNNI.
#include "native/kernel_tables.hpp"
#include "native/x86/vector_avx512.hpp"

#include "native/x86/avx512_vnni_integers.hpp"

#include "native/x86/attention.hpp"
#include "native/x86/linear.hpp"
#include "native/x86/rows.hpp"

namespace bert_export::native {
namespace {

void run_integers(const Linear& linear, const LinearCall& call) {
  run_integer_blocks<IntegerStep>(linear, call);
}

}  // namespace

const Kernels avx512_vnni_kernels{InstructionSet::avx512_vnni, run_linear, run_norm, run_attention,
                                  run_embed};

}  // namespace bert_export::native
