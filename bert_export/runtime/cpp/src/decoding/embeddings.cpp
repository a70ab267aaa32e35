#include "decoding/embeddings.hpp"

#include <algorithm>
#include <cmath>

namespace bert_export::decoding {
namespace {

// Below this length a vector is divided by it instead of by its own length.
constexpr float epsilon = 1e-12F;

}  // namespace

std::vector<float> finish_vector(Vector vector, std::optional<std::size_t> truncate_dim,
                                 bool normalize) {
  const std::size_t size = std::min(vector.size, truncate_dim.value_or(vector.size));
  std::vector<float> finished(vector.data, vector.data + size);
  if (!normalize) return finished;
  double squares = 0;
  for (const float number : finished) squares += static_cast<double>(number) * number;
  const float length = std::max(static_cast<float>(std::sqrt(squares)), epsilon);
  for (float& number : finished) number /= length;
  return finished;
}

std::vector<std::int64_t> pooling_mask(std::size_t tokens, std::size_t skipped) {
  std::vector<std::int64_t> mask(tokens, 1);
  std::fill_n(mask.begin(), std::min(skipped, tokens), 0);
  return mask;
}

double compare_vectors(Vector left, Vector right, const std::string& similarity) {
  if (similarity == "cosine") {
    return compare_vectors(finish_vector(left, std::nullopt, true),
                           finish_vector(right, std::nullopt, true), "dot");
  }
  double sum = 0;
  for (std::size_t place = 0; place < left.size; ++place) {
    const double difference = static_cast<double>(left[place]) - right[place];
    if (similarity == "dot") {
      sum += static_cast<double>(left[place]) * right[place];
    } else {
      sum += similarity == "euclidean" ? difference * difference : std::abs(difference);
    }
  }
  if (similarity == "dot") return sum;
  return similarity == "euclidean" ? -std::sqrt(sum) : -sum;
}

}  // namespace bert_export::decoding
