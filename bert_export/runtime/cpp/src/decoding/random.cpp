#include "decoding/random.hpp"

#include <array>
#include <random>
#include <vector>

namespace bert_export::decoding {
namespace {

// numpy's SeedSequence (O'Neill 2015, "Developing a seed_seq Alternative"): a seed's words of 32
// bits mixed into a pool of four, of which eight words are drawn.
class SeedSequence {
 public:
  explicit SeedSequence(const std::vector<std::uint32_t>& entropy) {
    for (std::size_t place = 0; place < pool_.size(); ++place) {
      pool_[place] = hash(place < entropy.size() ? entropy[place] : 0);
    }
    for (std::size_t source = 0; source < pool_.size(); ++source) {
      for (std::size_t target = 0; target < pool_.size(); ++target) {
        if (source != target) pool_[target] = mix(pool_[target], hash(pool_[source]));
      }
    }
    for (std::size_t source = pool_.size(); source < entropy.size(); ++source) {
      for (std::uint32_t& target : pool_) target = mix(target, hash(entropy[source]));
    }
  }

  std::array<std::uint64_t, 4> draw() const {
    std::uint32_t factor = 0x8b51f9dd;
    std::array<std::uint32_t, 8> words{};
    for (std::size_t place = 0; place < words.size(); ++place) {
      std::uint32_t word = pool_[place % pool_.size()] ^ factor;
      factor *= 0x58f38ded;
      word *= factor;
      words[place] = word ^ (word >> 16U);
    }
    std::array<std::uint64_t, 4> drawn{};
    for (std::size_t place = 0; place < drawn.size(); ++place) {
      drawn[place] = words[2 * place] | static_cast<std::uint64_t>(words[2 * place + 1]) << 32U;
    }
    return drawn;
  }

 private:
  std::uint32_t hash(std::uint32_t word) {
    word ^= factor_;
    factor_ *= 0x931e8875;
    word *= factor_;
    return word ^ (word >> 16U);
  }

  static std::uint32_t mix(std::uint32_t left, std::uint32_t right) {
    const std::uint32_t mixed = 0xca01f9dd * left - 0x4973f715 * right;
    return mixed ^ (mixed >> 16U);
  }

  std::array<std::uint32_t, 4> pool_{};
  std::uint32_t factor_ = 0x43b0d7e5;
};

// A number's words of 32 bits, lowest first; one at least.
void append_words(std::vector<std::uint32_t>& words, std::uint64_t number) {
  words.push_back(static_cast<std::uint32_t>(number));
  if (number >> 32U != 0) words.push_back(static_cast<std::uint32_t>(number >> 32U));
}

std::vector<std::uint32_t> entropy_of(std::optional<std::uint64_t> seed, std::uint64_t place) {
  if (!seed) {
    std::random_device device;
    return {device(), device(), device(), device()};
  }
  std::vector<std::uint32_t> words;
  append_words(words, *seed);
  if (place != 0) append_words(words, place);
  return words;
}

}  // namespace

RandomNumbers::RandomNumbers(std::optional<std::uint64_t> seed, std::uint64_t place) {
  const std::array<std::uint64_t, 4> drawn = SeedSequence(entropy_of(seed, place)).draw();
  increment_ = ((Wide{drawn[2]} << 64U | drawn[3]) << 1U) | 1U;
  step();
  state_ += Wide{drawn[0]} << 64U | drawn[1];
  step();
}

void RandomNumbers::step() {
  constexpr Wide multiplier = Wide{0x2360ed051fc65da4} << 64U | 0x4385df649fccf645;
  state_ = state_ * multiplier + increment_;
}

double RandomNumbers::next() {
  step();
  const auto high = static_cast<std::uint64_t>(state_ >> 64U);
  const std::uint64_t folded = high ^ static_cast<std::uint64_t>(state_);
  const auto turn = static_cast<unsigned>(high >> 58U);
  const std::uint64_t turned = folded >> turn | folded << (-turn & 63U);
  return static_cast<double>(turned >> 11U) / 9007199254740992.0;
}

}  // namespace bert_export::decoding
