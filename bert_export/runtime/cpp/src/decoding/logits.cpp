#include "decoding/logits.hpp"

#include <algorithm>
#include <limits>

namespace bert_export::decoding {
namespace {

float* find_score(std::vector<float>& scores, std::int64_t token) {
  const bool known = token >= 0 && static_cast<std::size_t>(token) < scores.size();
  return known ? &scores[static_cast<std::size_t>(token)] : nullptr;
}

}  // namespace

void penalize_repetition(std::vector<float>& scores, const Ids& ids, double penalty) {
  if (penalty == 1) return;
  const auto factor = static_cast<float>(penalty);
  Ids there = ids;
  std::sort(there.begin(), there.end());
  there.erase(std::unique(there.begin(), there.end()), there.end());
  for (const std::int64_t token : there) {
    if (float* const score = find_score(scores, token)) {
      *score = *score < 0 ? *score * factor : *score / factor;
    }
  }
}

void block_ngrams(std::vector<float>& scores, const Ids& ids, std::size_t size) {
  if (size == 0 || size > ids.size()) return;
  const auto before = static_cast<std::ptrdiff_t>(size - 1);
  const auto last = ids.end() - before;  // of the n-gram, all but the token to come
  Ids blocked;
  for (auto start = ids.begin(); start + before != ids.end(); ++start) {
    if (std::equal(last, ids.end(), start)) blocked.push_back(start[before]);
  }
  block_tokens(scores, blocked);
}

void block_tokens(std::vector<float>& scores, const Ids& tokens) {
  for (const std::int64_t token : tokens) {
    if (float* const score = find_score(scores, token)) {
      *score = -std::numeric_limits<float>::infinity();
    }
  }
}

}  // namespace bert_export::decoding
