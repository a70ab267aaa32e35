// The fastest of many calls, in processor time: other work on the machine only makes calls slower.
#pragma once

#include <algorithm>
#include <cstdio>

#include "clock.hpp"
#include "native/instruction_set.hpp"

// Calls for so many seconds, five times at least, and prints `SET|NAME|MICROSECONDS|TOPS`.
template <typename Call>
void measure(bert_export::native::InstructionSet set, const char* name, double operations,
             double seconds, Call call) {
  double best = 1e9;
  double used = 0.0;
  for (int round = 0; round < 5 || used < seconds; ++round) {
    const double begin = processor_seconds();
    call();
    const double own = processor_seconds() - begin;
    best = std::min(best, own);
    used += own;
  }
  std::printf("%s|%s|%.2f|%.3f\n", bert_export::native::name_of(set), name, best * 1e6,
              operations / best * 1e-12);
}
