#include "decoding/choices.hpp"

#include "decoding/ranking.hpp"
#include "decoding/softmax.hpp"

namespace bert_export::decoding {

Choice choose(Vector logits, const std::vector<std::string>& choices) {
  const std::size_t best = argmax(logits.data, logits.size);
  const std::vector<float> scores = softmax(logits);
  return {best, choices[best], {scores.begin(), scores.end()}};
}

}  // namespace bert_export::decoding
