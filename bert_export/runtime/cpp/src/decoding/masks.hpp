// Logits behind masks to the words that fit there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "bert_export/answers.hpp"
#include "decoding/matrix.hpp"

namespace bert_export::decoding {

using Ids = std::vector<std::int64_t>;

// The best tokens of every mask of a row; M masks.
struct Candidates {
  // Where the masks stand, (M,).
  std::vector<std::size_t> positions;
  // Per mask K ids, best first, and their probabilities over the whole vocabulary.
  std::vector<Ids> ids;
  std::vector<std::vector<float>> scores;
};

// A tokenizer's decoding: ids, and whether special tokens are left out.
using Spell = std::function<std::string(const Ids&, bool)>;

// Ranks the vocabulary behind every mask of a row.
//
// Probabilities are taken over the whole vocabulary first and restricted to `targets` (ids without
// repetition) then, so those of the targets do not sum to one. Equal probabilities keep the order of
// `targets`, or of ids. `logits` is float32 (S, V), of which only the masks' rows are read, or just
// these, (M, V). Throws InputError where `top_k` is above the size of the vocabulary.
Candidates find_candidates(const Ids& input_ids, Matrix logits, std::int64_t mask_id,
                           std::size_t top_k, const std::optional<Ids>& targets = std::nullopt);

// Spells candidates out: a list per mask. A sequence is the row with the candidate in place; where it
// has several masks the special tokens are kept, or the other masks would vanish from it.
std::vector<std::vector<Candidate>> describe_candidates(const Ids& input_ids,
                                                        const Candidates& candidates,
                                                        std::int64_t pad_id, const Spell& spell);

}  // namespace bert_export::decoding
