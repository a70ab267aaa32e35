// The random numbers of numpy's default generator, so that a seed gives Python's answer.
#pragma once

#include <cstdint>
#include <optional>

namespace bert_export::decoding {

// PCG64 (O'Neill 2014, "PCG: A Family of Simple Fast Space-Efficient Statistically Good Algorithms
// for Random Number Generation"), seeded as numpy's SeedSequence does.
class RandomNumbers {
 public:
  // Where there is no seed, one is drawn from the system. Of several sequences of one seed the first
  // has the seed alone, as in default_rng(seed), each other its place too: default_rng([seed, place]).
  explicit RandomNumbers(std::optional<std::uint64_t> seed, std::uint64_t place = 0);

  // The next number of [0, 1).
  double next();

 private:
  __extension__ typedef unsigned __int128 Wide;  // NOLINT(modernize-use-using)
  void step();

  Wide state_ = 0;
  Wide increment_ = 0;
};

}  // namespace bert_export::decoding
