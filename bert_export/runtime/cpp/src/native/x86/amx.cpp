// AMX with its integers and BF16, beside AVX-512.
#include "native/kernel_tables.hpp"
#include "native/x86/vector_avx512.hpp"

#include "native/x86/amx_attention.hpp"
#include "native/x86/amx_linear.hpp"
#include "native/x86/attention.hpp"
#include "native/x86/avx512_vnni_integers.hpp"
#include "native/x86/blocks.hpp"
#include "native/x86/rows.hpp"

namespace bert_export::native {
namespace {

void run_amx_linear(const Linear& linear, const LinearCall& call) {
  switch (linear.input) {
    case Numbers::u8:
      if (call.rows <= few_rows) return run_few_rows<IntegerStep>(linear, call);
      return run_tiles<ByteTiles>(linear, call);
    case Numbers::bf16: return run_tiles<HalfTiles>(linear, call);
    case Numbers::f32: return run_blocks<FloatStep>(linear, call);
  }
}

void attend_by_tiles(const Attention& attention, const AttentionCall& call) {
  if (run_few_queries(attention, call)) return;
  if (attention.input == Numbers::bf16) return run_amx_attention(attention, call);
  run_attention(attention, call);
}

}  // namespace

const Kernels amx_kernels{InstructionSet::amx, run_amx_linear, run_norm, attend_by_tiles, run_embed};

}  // namespace bert_export::native
