// Logits of several continuations to the one that fits.
#pragma once

#include <string>
#include <vector>

#include "bert_export/answers.hpp"
#include "decoding/matrix.hpp"

namespace bert_export::decoding {

// The best choice; of equal ones the first. `logits` is float32 (C,), for C texts.
Choice choose(Vector logits, const std::vector<std::string>& choices);

}  // namespace bert_export::decoding
