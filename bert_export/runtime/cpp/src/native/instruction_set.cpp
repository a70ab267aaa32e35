#include "native/instruction_set.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "bert_export/errors.hpp"
#include "text/printing.hpp"

namespace bert_export::native {
namespace {

constexpr std::array<const char*, 5> names{"reference", "avx2", "avx_vnni", "avx512_vnni", "amx"};

#if defined(__x86_64__)

// The registers of one leaf of CPUID; zeros where the processor has no such leaf.
struct Leaf {
  std::uint32_t a = 0, b = 0, c = 0, d = 0;
  Leaf(std::uint32_t leaf, std::uint32_t part) { __get_cpuid_count(leaf, part, &a, &b, &c, &d); }
};

constexpr bool has(std::uint32_t bits, unsigned bit) { return ((bits >> bit) & 1U) != 0; }

// The registers that the system saves when it changes threads (XCR0).
std::uint64_t saved_registers() {
  std::uint32_t low = 0;
  std::uint32_t high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return std::uint64_t{high} << 32U | low;
}

// Linux gives a process the registers of AMX when it asks for them.
bool ask_for_tiles() {
  constexpr long request_permission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long tile_data = 18;               // XFEATURE_XTILEDATA
  return ::syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}

std::vector<InstructionSet> find_sets() {
  std::vector<InstructionSet> sets{InstructionSet::reference};
  const Leaf basic(1, 0);
  const Leaf extended(7, 0);
  const Leaf more(7, 1);
  const std::uint64_t saved = has(basic.c, 27) ? saved_registers() : 0;
  const bool wide = (saved & 0x6U) == 0x6U;            // SSE and AVX
  const bool wider = wide && (saved & 0xE0U) == 0xE0U;  // the three parts of AVX-512
  const bool tiles = (saved & 0x60000U) == 0x60000U;    // AMX's configuration and data

  const bool avx2 = wide && has(extended.b, 5) && has(basic.c, 12) && has(basic.c, 29);
  [[maybe_unused]] const bool avx_vnni = avx2 && has(more.a, 4);
  // Foundation, doublewords, bytes, vector lengths, VNNI.
  [[maybe_unused]] const bool avx512_vnni = avx2 && wider && has(extended.b, 16) &&
                                            has(extended.b, 17) && has(extended.b, 30) &&
                                            has(extended.b, 31) && has(extended.c, 11);
  // AVX512-BF16, and AMX's tiles, integers and BF16.
  [[maybe_unused]] const bool amx = avx512_vnni && tiles && has(more.a, 5) && has(extended.d, 22) &&
                                    has(extended.d, 24) && has(extended.d, 25);
#if defined(BERT_EXPORT_AVX2)
  if (avx2) sets.push_back(InstructionSet::avx2);
#endif
#if defined(BERT_EXPORT_AVX_VNNI)
  if (avx_vnni) sets.push_back(InstructionSet::avx_vnni);
#endif
#if defined(BERT_EXPORT_AVX512_VNNI)
  if (avx512_vnni) sets.push_back(InstructionSet::avx512_vnni);
#endif
#if defined(BERT_EXPORT_AMX)
  if (amx && ask_for_tiles()) sets.push_back(InstructionSet::amx);
#endif
  return sets;
}

#else

std::vector<InstructionSet> find_sets() { return {InstructionSet::reference}; }

#endif

}  // namespace

const char* name_of(InstructionSet set) { return names.at(static_cast<std::size_t>(set)); }

const std::vector<InstructionSet>& available_sets() {
  static const std::vector<InstructionSet> sets = find_sets();
  return sets;
}

InstructionSet chosen_set() {
  const std::vector<InstructionSet>& sets = available_sets();
  const char* const asked = std::getenv("BERT_EXPORT_ISA");
  if (asked == nullptr || *asked == '\0') return sets.back();
  const auto* const found =
      std::find_if(names.begin(), names.end(),
                   [&](const char* name) { return std::string(name) == asked; });
  if (found == names.end()) {
    throw InputError("BERT_EXPORT_ISA names no instruction set",
                     {"one of amx, avx512_vnni, avx_vnni, avx2, reference", text::shown(asked)});
  }
  const auto most = static_cast<InstructionSet>(found - names.begin());
  // AVX-VNNI is a 256-bit set that some processors lack whose AVX-512 is faster.
  InstructionSet chosen = InstructionSet::reference;
  for (const InstructionSet set : sets) {
    if (set <= most) chosen = set;
  }
  return chosen;
}

std::string left_out() {
  std::string list;
#if defined(__x86_64__)
  const auto add = [&](const char* name) { list += (list.empty() ? "" : ", ") + std::string(name); };
  (void)add;
#if !defined(BERT_EXPORT_AVX2)
  add("avx2");
#endif
#if !defined(BERT_EXPORT_AVX_VNNI)
  add("avx_vnni");
#endif
#if !defined(BERT_EXPORT_AVX512_VNNI)
  add("avx512_vnni");
#endif
#if !defined(BERT_EXPORT_AMX)
  add("amx");
#endif
#else
  list = "all but the reference, which is slow: this is no x86-64";
#endif
  return list.empty() ? "" : "The compiler left out " + list + ".";
}

}  // namespace bert_export::native
