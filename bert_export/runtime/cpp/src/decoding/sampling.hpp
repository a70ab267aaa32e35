// Logits of the next token to the token, and new tokens to text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "decoding/matrix.hpp"

namespace bert_export::decoding {

// How a token is drawn.
struct Sampling {
  // Logits are divided by it.
  double temperature = 1.0;
  // Only that many of the likeliest tokens remain; 0 keeps all.
  std::size_t top_k = 50;
  // Only the likeliest tokens that together reach this probability remain.
  double top_p = 1.0;
  // Of each prompt's own numbers; drawn from the system where it is absent.
  std::optional<std::uint64_t> seed = std::nullopt;
};

// Temperature, then top_k, then top_p; -inf where a token cannot be drawn. float32 (V,).
std::vector<float> filter_logits(Vector logits, const Sampling& sampling);

// Draws from the softmax of logits by inverting its distribution function, with a random number in
// [0, 1); -inf is never drawn.
std::size_t draw_token(Vector logits, double number);

// What new tokens add to a prompt's spelling: what of `whole` stands behind as many characters.
std::string added_text(std::string_view prompt, std::string_view whole);

// The beginning of a text that no later token changes, or the whole text where no more follow.
// `decode` spells the ids of a text.
std::string settled_text(const std::function<std::string(const std::vector<std::int64_t>&)>& decode,
                         const std::vector<std::int64_t>& ids, bool done);

}  // namespace bert_export::decoding
