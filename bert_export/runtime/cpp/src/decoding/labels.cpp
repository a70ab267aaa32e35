#include "decoding/labels.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "decoding/lower.hpp"
#include "decoding/ranking.hpp"
#include "decoding/softmax.hpp"

namespace bert_export::decoding {
namespace {

float sigmoid(float logit) {
  const float power = std::exp(-std::abs(logit));  // at most 1, so nothing overflows
  return (logit < 0 ? power : 1.0F) / (1.0F + power);
}

}  // namespace

Activation choose_activation(const std::optional<std::string>& problem_type, std::size_t labels) {
  if (problem_type == "regression") return Activation::none;
  if (problem_type == "multi_label_classification" || labels == 1) return Activation::sigmoid;
  return Activation::softmax;
}

std::vector<float> score_labels(Vector logits, Activation activation) {
  if (activation == Activation::softmax) return softmax(logits);
  std::vector<float> scores(logits.begin(), logits.end());
  if (activation == Activation::sigmoid) {
    std::transform(scores.begin(), scores.end(), scores.begin(), sigmoid);
  }
  return scores;
}

std::vector<Label> rank_labels(Vector scores, const std::vector<std::string>& labels,
                               std::optional<std::size_t> top_k) {
  std::vector<Label> ranked;
  const auto score = [&](std::size_t index) { return scores[index]; };
  for (const std::size_t index : largest(scores.size, top_k.value_or(scores.size), score)) {
    ranked.push_back({labels[index], scores[index]});
  }
  return ranked;
}

std::optional<std::size_t> find_entailment(const std::vector<std::string>& labels) {
  const auto entails = [](const std::string& label) { return lower(label).rfind("entail", 0) == 0; };
  const auto found = std::find_if(labels.begin(), labels.end(), entails);
  if (found == labels.end()) return std::nullopt;
  return static_cast<std::size_t>(found - labels.begin());
}

std::vector<float> score_hypotheses(Matrix logits, std::size_t entailment, bool multi_label) {
  std::vector<float> scores;
  if (!multi_label && logits.rows != 1) {
    for (std::size_t row = 0; row < logits.rows; ++row) {
      scores.push_back(logits.row(row)[entailment]);
    }
    return softmax(scores);
  }
  const std::size_t contradiction = entailment == 0 ? logits.columns - 1 : 0;
  for (std::size_t row = 0; row < logits.rows; ++row) {
    const float both[] = {logits.row(row)[contradiction], logits.row(row)[entailment]};
    scores.push_back(softmax(both, 2)[1]);
  }
  return scores;
}

Hypotheses rank_hypotheses(std::string_view text, const std::vector<std::string>& labels,
                           Vector scores) {
  std::vector<std::size_t> order(scores.size);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t left, std::size_t right) {
    return scores[left] < scores[right];
  });
  Hypotheses answer{std::string(text), {}, {}};
  for (auto index = order.rbegin(); index != order.rend(); ++index) {
    answer.labels.push_back(labels[*index]);
    answer.scores.push_back(scores[*index]);
  }
  return answer;
}

NextSentence judge_next_sentence(Vector logits) {
  return {logits[0] >= logits[1], softmax(logits)[0]};
}

}  // namespace bert_export::decoding
