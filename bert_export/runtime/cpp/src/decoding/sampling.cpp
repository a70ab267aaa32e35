#include "decoding/sampling.hpp"

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>

#include "decoding/softmax.hpp"
#include "text/utf8.hpp"

namespace bert_export::decoding {
namespace {

// Tokens at the end that later ones may still join: "do n ' t" becomes "don't" at its last.
constexpr std::ptrdiff_t unsettled = 4;

constexpr float never = -std::numeric_limits<float>::infinity();

// All but the `top_k` largest become -inf; those equal to the last remain too.
void keep_top_k(std::vector<float>& logits, std::size_t top_k) {
  if (top_k == 0 || top_k >= logits.size()) return;
  std::vector<float> ranked = logits;
  const auto last = ranked.begin() + static_cast<std::ptrdiff_t>(top_k - 1);
  std::nth_element(ranked.begin(), last, ranked.end(), std::greater<>());
  std::replace_if(logits.begin(), logits.end(), [bound = *last](float one) { return one < bound; },
                  never);
}

// Keeps the smallest set of likeliest tokens that reaches `top_p`, the likeliest always (Holtzman
// 2019, "The Curious Case of Neural Text Degeneration", section 3.1).
void keep_top_p(std::vector<float>& logits, double top_p) {
  if (top_p >= 1) return;
  std::vector<std::size_t> order(logits.size());  // least likely first
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t left, std::size_t right) {
    return logits[left] < logits[right];
  });
  const std::vector<float> probabilities = softmax(logits);
  float below = 0;
  for (std::size_t place = 0; place + 1 < order.size(); ++place) {
    below += probabilities[order[place]];
    if (below <= static_cast<float>(1 - top_p)) logits[order[place]] = never;
  }
}

}  // namespace

std::vector<float> filter_logits(Vector logits, const Sampling& sampling) {
  std::vector<float> scaled(logits.begin(), logits.end());
  for (float& logit : scaled) logit /= static_cast<float>(sampling.temperature);
  keep_top_k(scaled, sampling.top_k);
  keep_top_p(scaled, sampling.top_p);
  return scaled;
}

std::size_t draw_token(Vector logits, double number) {
  const std::vector<double> wide(logits.begin(), logits.end());
  std::vector<double> reach = softmax(wide.data(), wide.size());
  std::partial_sum(reach.begin(), reach.end(), reach.begin());
  const auto drawn = std::upper_bound(reach.begin(), reach.end(), number * reach.back());
  return static_cast<std::size_t>(drawn - reach.begin());
}

std::string added_text(std::string_view prompt, std::string_view whole) {
  return std::string(whole.substr(text::byte_of(whole, text::length(prompt))));
}

std::string settled_text(const std::function<std::string(const std::vector<std::int64_t>&)>& decode,
                         const std::vector<std::int64_t>& ids, bool done) {
  const std::string whole = decode(ids);
  if (done) return whole;
  const auto last = ids.end() - std::min(unsettled, static_cast<std::ptrdiff_t>(ids.size()));
  const std::string begun = decode({ids.begin(), last});
  // Both alike, up to the last whole code point.
  std::size_t size = 0;
  for (std::size_t place = 0; place < begun.size();) {
    const std::size_t bytes = std::max<std::size_t>(text::decode_at(begun, place).bytes, 1);
    if (whole.compare(place, bytes, begun, place, bytes) != 0) break;
    size = place += bytes;
  }
  return whole.substr(0, size);
}

}  // namespace bert_export::decoding
