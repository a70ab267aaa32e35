// The tables of all sets, each in a file that is compiled with the set's own flags.
#pragma once

#include "native/kernels.hpp"

namespace bert_export::native {

extern const Kernels reference_kernels;
#if defined(BERT_EXPORT_AVX2)
extern const Kernels avx2_kernels;
#endif
#if defined(BERT_EXPORT_AVX_VNNI)
extern const Kernels avx_vnni_kernels;
#endif
#if defined(BERT_EXPORT_AVX512_VNNI)
extern const Kernels avx512_vnni_kernels;
#endif
#if defined(BERT_EXPORT_AMX)
extern const Kernels amx_kernels;
#endif

}  // namespace bert_export::native
