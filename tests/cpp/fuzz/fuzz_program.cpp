// Any bytes are a program or a BundleError; bytes that choose a program and a batch give the
// reference's answers in every set of kernels.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "bert_export/errors.hpp"
#include "native/cache.hpp"
#include "native/program_file.hpp"
#include "native_programs.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace native = bert_export::native;
  if (size > 0 && data[0] == '{') {
    try {
      native::parse_program("fuzzed", {reinterpret_cast<const char*>(data), size}, 1 << 16U);
    } catch (const bert_export::BundleError&) {
    }
    return 0;
  }
  std::size_t next = 0;
  const tests::Choose choose = [&](std::uint32_t below) {
    const std::uint32_t chosen = next + 1 < size ? data[next] * 256U + data[next + 1] : 0U;
    next += 2;
    return chosen % below;
  };
  // Few short texts, or a long one.
  const tests::DrawnProgram drawn = tests::draw_program(choose, 80, 16, 512);
  const bool is_long = choose(8) == 0;
  const tests::DrawnBatch batch = tests::draw_batch(drawn, choose, is_long ? 1 : 5, is_long ? 512 : 24);
  const tests::ProgramFiles files(drawn);
  const auto wanted = files.open("reference")->run(batch.view());
  for (const native::InstructionSet set : native::available_sets()) {
    const auto got = files.open(native::name_of(set), 1 + size % 2)->run(batch.view());
    if (!(tests::furthest(wanted, got) < 0.1F)) std::abort();
  }
  // Two calls of which the second stands behind the first's keys and values.
  const std::int64_t shortest = *std::min_element(batch.lengths.begin(), batch.lengths.end());
  if (!drawn.cached || shortest < 2) return 0;
  const tests::DrawnBatch parts[] = {batch.part(0, 1, 2), batch.part(1, 2, 2)};
  std::vector<native::Result> reference;
  for (const native::InstructionSet set : native::available_sets()) {
    const auto program = files.open(native::name_of(set), 1 + size % 2);
    native::Cache cache(program->file());
    std::vector<native::Result> got;
    for (const tests::DrawnBatch& part : parts) {
      native::Batch view = part.view();
      view.cache = &cache;
      got = program->run(view);
    }
    if (set == native::InstructionSet::reference) reference = got;
    if (!(tests::furthest(reference, got) < 0.1F)) std::abort();
  }
  return 0;
}
