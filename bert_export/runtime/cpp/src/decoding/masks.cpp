#include "decoding/masks.hpp"

#include <algorithm>

#include "bert_export/errors.hpp"
#include "decoding/ranking.hpp"
#include "decoding/softmax.hpp"

namespace bert_export::decoding {
namespace {

// The best ids behind one mask, with their probabilities.
void rank(Vector logits, std::size_t top_k, const std::optional<Ids>& targets, Ids& ids,
          std::vector<float>& scores) {
  const std::vector<float> probabilities = softmax(logits);
  const auto id_of = [&](std::size_t place) {
    return targets ? static_cast<std::size_t>((*targets)[place]) : place;
  };
  const std::size_t allowed = targets ? targets->size() : probabilities.size();
  const auto score = [&](std::size_t place) { return probabilities[id_of(place)]; };
  for (const std::size_t place : largest(allowed, top_k, score)) {
    ids.push_back(static_cast<std::int64_t>(id_of(place)));
    scores.push_back(score(place));
  }
}

}  // namespace

Candidates find_candidates(const Ids& input_ids, Matrix logits, std::int64_t mask_id,
                           std::size_t top_k, const std::optional<Ids>& targets) {
  if (!targets && top_k > logits.columns) {
    throw InputError("top_k is too large", {"at most " + std::to_string(logits.columns),
                                            std::to_string(top_k)});
  }
  Candidates candidates;
  for (std::size_t place = 0; place < input_ids.size(); ++place) {
    if (input_ids[place] == mask_id) candidates.positions.push_back(place);
  }
  const bool masks_alone = logits.rows == candidates.positions.size();
  for (std::size_t mask = 0; mask < candidates.positions.size(); ++mask) {
    const float* const row = logits.row(masks_alone ? mask : candidates.positions[mask]);
    candidates.ids.emplace_back();
    candidates.scores.emplace_back();
    rank({row, logits.columns}, top_k, targets, candidates.ids.back(), candidates.scores.back());
  }
  return candidates;
}

std::vector<std::vector<Candidate>> describe_candidates(const Ids& input_ids,
                                                        const Candidates& candidates,
                                                        std::int64_t pad_id, const Spell& spell) {
  const bool single = candidates.positions.size() == 1;
  std::vector<std::vector<Candidate>> answers;
  for (std::size_t mask = 0; mask < candidates.positions.size(); ++mask) {
    std::vector<Candidate>& answer = answers.emplace_back();
    for (std::size_t index = 0; index < candidates.ids[mask].size(); ++index) {
      const std::int64_t token = candidates.ids[mask][index];
      Ids filled = input_ids;
      filled[candidates.positions[mask]] = token;
      filled.erase(std::remove(filled.begin(), filled.end(), pad_id), filled.end());
      answer.push_back({candidates.scores[mask][index], token, spell({token}, false),
                        spell(filled, single)});
    }
  }
  return answers;
}

}  // namespace bert_export::decoding
