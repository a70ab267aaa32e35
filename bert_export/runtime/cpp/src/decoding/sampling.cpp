#include "decoding/sampling.hpp"

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>

#include "decoding/softmax.hpp"
#include "text/utf8.hpp"

namespace bert_export::decoding {
namespace {

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

}  // namespace bert_export::decoding
