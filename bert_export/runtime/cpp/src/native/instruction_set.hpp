// Which of the kernels a machine can run: what its processor has and its system grants.
#pragma once

#include <string>
#include <vector>

namespace bert_export::native {

// From the slowest to the fastest.
enum class InstructionSet { reference, avx2, avx_vnni, avx512_vnni, amx };

// As `BERT_EXPORT_ISA` spells it.
const char* name_of(InstructionSet set);

// What was compiled in and this machine can run, from the slowest to the fastest; never empty. The
// first call asks the system for AMX's registers.
const std::vector<InstructionSet>& available_sets();

// The fastest that is available and, where the environment variable `BERT_EXPORT_ISA` names one, no
// faster than that. Throws InputError where it names none.
InstructionSet chosen_set();

// Why nothing faster was compiled in, as a sentence; empty where all is.
std::string left_out();

}  // namespace bert_export::native
