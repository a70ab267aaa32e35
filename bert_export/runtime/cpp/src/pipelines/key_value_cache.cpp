#include "pipelines/key_value_cache.hpp"

#include <algorithm>
#include <utility>

namespace bert_export::pipelines {
namespace {

std::size_t size_of(std::int64_t axis) { return static_cast<std::size_t>(axis); }

}  // namespace

bool KeyValueCache::fits(const bundle::GraphRecord& graph) {
  return std::any_of(graph.inputs.begin(), graph.inputs.end(), sessions::is_cache);
}

sessions::Output KeyValueCache::step(const sessions::Session& session,
                                     const std::vector<std::vector<std::int64_t>>& tokens) {
  if (own_ == nullptr && mask_.empty()) own_ = session.open_cache();
  if (own_ != nullptr) return own_->step(tokens);
  const auto rows = static_cast<std::int64_t>(tokens.size());
  std::size_t width = 0;
  for (const auto& row : tokens) width = std::max(width, row.size());
  mask_.resize(tokens.size());
  sessions::Feed ids{{rows, static_cast<std::int64_t>(width)}, {}};
  for (std::size_t row = 0; row < tokens.size(); ++row) {
    const std::size_t padding = width - tokens[row].size();
    ids.numbers.insert(ids.numbers.end(), padding, pad_id_);
    ids.numbers.insert(ids.numbers.end(), tokens[row].begin(), tokens[row].end());
    mask_[row].insert(mask_[row].end(), padding, 0);
    mask_[row].insert(mask_[row].end(), tokens[row].size(), 1);
  }
  sessions::Feed mask{{rows, static_cast<std::int64_t>(mask_.front().size())}, {}};
  for (const auto& row : mask_) mask.numbers.insert(mask.numbers.end(), row.begin(), row.end());
  const sessions::Feed types{ids.shape, std::vector<std::int64_t>(ids.numbers.size(), 0)};

  sessions::Feeds feeds{{"input_ids", std::move(ids)},
                        {"attention_mask", std::move(mask)},
                        {"token_type_ids", types}};
  auto kept = kept_.begin();
  for (const bundle::TensorSpec& spec : graph_.inputs) {
    if (!sessions::is_cache(spec)) continue;
    if (kept == kept_.end()) {
      const std::int64_t heads = std::get<std::int64_t>(spec.shape[1]);
      feeds.emplace(spec.name,
                    sessions::Feed{{rows, heads, 0, std::get<std::int64_t>(spec.shape[3])}, {}});
    } else {
      feeds.emplace(spec.name, std::move(*kept++));
    }
  }
  sessions::Outputs outputs = session.run(feeds);
  kept_.clear();
  // Keys and values come in the order in which they go in.
  for (const bundle::TensorSpec& spec : graph_.outputs) {
    sessions::Output& output = outputs.at(spec.name);
    if (spec.name.rfind("present.", 0) != 0) continue;
    kept_.push_back({std::move(output.shape), {}, std::move(output.numbers)});
  }
  return std::move(outputs.at("logits"));
}

void KeyValueCache::select(const std::vector<std::size_t>& rows) {
  if (own_ != nullptr) return own_->select(rows);
  std::vector<std::vector<std::int64_t>> mask;
  for (const std::size_t row : rows) mask.push_back(mask_[row]);
  std::size_t first = mask.front().size();
  for (const auto& row : mask) {
    const auto begun = std::find(row.begin(), row.end(), 1);
    first = std::min(first, static_cast<std::size_t>(begun - row.begin()));
  }
  for (auto& row : mask) row.erase(row.begin(), row.begin() + static_cast<std::ptrdiff_t>(first));
  mask_ = std::move(mask);
  for (sessions::Feed& kept : kept_) {  // (B, N, P, D)
    const std::size_t heads = size_of(kept.shape[1]);
    const std::size_t whole = size_of(kept.shape[2] * kept.shape[3]);
    const std::size_t dropped = first * size_of(kept.shape[3]);
    std::vector<float> floats;
    floats.reserve(rows.size() * heads * (whole - dropped));
    for (const std::size_t row : rows) {
      for (std::size_t head = 0; head < heads; ++head) {
        const float* const start = kept.floats.data() + (row * heads + head) * whole;
        floats.insert(floats.end(), start + dropped, start + whole);
      }
    }
    kept.floats = std::move(floats);
    kept.shape[0] = static_cast<std::int64_t>(rows.size());
    kept.shape[2] -= static_cast<std::int64_t>(first);
  }
}

}  // namespace bert_export::pipelines
