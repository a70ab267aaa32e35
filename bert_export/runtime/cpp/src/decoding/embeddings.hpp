// Sentence vectors: the prompt before the text, truncation and normalization after the graph.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "decoding/matrix.hpp"

namespace bert_export::decoding {

// Cuts a vector, float32 (D,), to `truncate_dim` numbers, then scales it to length 1; a zero vector
// stays zero.
std::vector<float> finish_vector(Vector vector, std::optional<std::size_t> truncate_dim,
                                 bool normalize);

// Which of S tokens are pooled, where the first `skipped` (a prompt's, and [CLS]) are not.
std::vector<std::int64_t> pooling_mask(std::size_t tokens, std::size_t skipped);

// How alike two vectors of one length are: cosine, dot, euclidean or manhattan, of which distances are
// negative, so that more is more alike.
double compare_vectors(Vector left, Vector right, const std::string& similarity);

}  // namespace bert_export::decoding
