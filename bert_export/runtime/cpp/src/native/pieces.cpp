#include "native/pieces.hpp"

#include <algorithm>

namespace bert_export::native {
namespace {

// Tokens of a piece, unless a single text has more. With fewer, the weights are read more often than
// the products take time for; with more, what lies between operations leaves the second cache.
constexpr std::size_t piece_tokens = 256;

void add_masks(const Texts& all, std::vector<Piece>& pieces) {
  if (all.batch.masked_positions == nullptr) return;
  for (std::size_t mask = 0; mask < all.batch.masks; ++mask) {
    const auto token = static_cast<std::size_t>(all.batch.masked_positions[mask]);
    const auto after =
        std::upper_bound(pieces.begin(), pieces.end(), token,
                         [](std::size_t place, const Piece& piece) { return place < piece.first_token; });
    Piece& own = *(after - 1);
    own.masks.push_back(mask);
    own.masked_positions.push_back(static_cast<std::int64_t>(token - own.first_token));
  }
  for (Piece& piece : pieces) {
    piece.texts.batch.masks = piece.masks.size();
    piece.texts.batch.masked_positions = piece.masked_positions.data();
  }
}

}  // namespace

std::vector<Piece> cut(const Texts& texts, std::size_t threads) {
  const Batch& batch = texts.batch;
  // As many pieces as fill all threads.
  const std::size_t needed = (batch.tokens + piece_tokens - 1) / piece_tokens;
  const std::size_t wanted = batch.texts == 1 ? 1 : rounded_up(needed, threads);
  const std::size_t most = std::max((batch.tokens + wanted - 1) / wanted, piece_tokens / 4);
  std::vector<Piece> pieces;
  for (std::size_t text = 0; text < batch.texts;) {
    Piece piece;
    piece.first_text = text;
    piece.first_token = texts.starts[text];
    piece.texts.starts.push_back(0);
    do {
      piece.texts.starts.push_back(texts.starts[++text] - piece.first_token);
    } while (text < batch.texts && texts.starts[text + 1] - piece.first_token <= most);
    Batch& own = piece.texts.batch;
    own = batch;
    own.input_ids += piece.first_token;
    own.token_type_ids += piece.first_token;
    own.position_ids += piece.first_token;
    if (own.pooling_mask != nullptr) own.pooling_mask += piece.first_token;
    own.lengths += piece.first_text;
    own.tokens = piece.texts.starts.back();
    own.texts = text - piece.first_text;
    piece.texts.first_text = piece.first_text;
    pieces.push_back(std::move(piece));
  }
  add_masks(texts, pieces);
  return pieces;
}

bool balanced(const std::vector<Piece>& pieces, std::size_t tokens, std::size_t threads) {
  if (pieces.size() < threads) return false;
  std::size_t largest = 0;
  for (const Piece& piece : pieces) largest = std::max(largest, piece.texts.batch.tokens);
  const std::size_t rounds = (pieces.size() + threads - 1) / threads;
  // The most that a thread may do, beside its even share.
  return rounds * largest * threads <= tokens + tokens / 2 || pieces.size() >= 4 * threads;
}

}  // namespace bert_export::native
