// Linear layers of sets without AMX. Included behind a vector header; the set's own file has the
// products of integers.
#pragma once

#include "native/kernels.hpp"
#include "native/x86/blocks.hpp"

namespace bert_export::native {
namespace {

// The set's own.
void run_integers(const Linear& linear, const LinearCall& call);

inline void run_linear(const Linear& linear, const LinearCall& call) {
  switch (linear.input) {
    case Numbers::u8: return run_integers(linear, call);
    case Numbers::bf16: return run_blocks<Bf16Step>(linear, call);
    case Numbers::f32: return run_blocks<FloatStep>(linear, call);
  }
}

}  // namespace
}  // namespace bert_export::native
