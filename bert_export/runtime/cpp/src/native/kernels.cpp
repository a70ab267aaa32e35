#include "native/kernels.hpp"

#include "native/kernel_tables.hpp"

namespace bert_export::native {

const Kernels& kernels_of(InstructionSet set) {
  switch (set) {
#if defined(BERT_EXPORT_AMX)
    case InstructionSet::amx: return amx_kernels;
#endif
#if defined(BERT_EXPORT_AVX512_VNNI)
    case InstructionSet::avx512_vnni: return avx512_vnni_kernels;
#endif
#if defined(BERT_EXPORT_AVX_VNNI)
    case InstructionSet::avx_vnni: return avx_vnni_kernels;
#endif
#if defined(BERT_EXPORT_AVX2)
    case InstructionSet::avx2: return avx2_kernels;
#endif
    default: return reference_kernels;
  }
}

std::size_t attention_scratch(std::size_t length, std::size_t head_size) {
  const std::size_t keys = rounded_up(length, 64);
  const std::size_t size = rounded_up(head_size, 32);
  // Queries, keys and values as floats, and the scores, numerators and sums of 32 queries.
  return 4 * (3 * keys * size + 2 * row_slack * keys + row_slack * (size + 64)) + 4096;
}

}  // namespace bert_export::native
