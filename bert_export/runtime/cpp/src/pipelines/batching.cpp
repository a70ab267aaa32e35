#include "pipelines/batching.hpp"

#include <algorithm>
#include <numeric>

namespace bert_export::pipelines {
namespace {

bool is_per_token(const bundle::TensorSpec& spec) {
  const auto* const axis =
      spec.shape.size() > 1 ? std::get_if<std::string>(&spec.shape[1]) : nullptr;
  return axis != nullptr && *axis == "sequence";
}

}  // namespace

std::vector<std::vector<std::size_t>> batch_rows(const std::vector<std::size_t>& lengths,
                                                 std::size_t token_budget, bool sort) {
  std::vector<std::size_t> order(lengths.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  if (sort) {
    std::stable_sort(order.begin(), order.end(), [&](std::size_t left, std::size_t right) {
      return lengths[left] > lengths[right];
    });
  }
  std::vector<std::vector<std::size_t>> batches;
  std::size_t longest = 0;
  for (const std::size_t index : order) {
    longest = std::max(longest, lengths[index]);
    if (!batches.empty() && (batches.back().size() + 1) * longest <= token_budget) {
      batches.back().push_back(index);
    } else {
      batches.push_back({index});
      longest = lengths[index];
    }
  }
  return batches;
}

sessions::Feeds pad_rows(const std::vector<const Row*>& rows, std::int64_t pad_id,
                         std::size_t length) {
  sessions::Feeds feeds;
  // An input of all rows, each of which `numbers_of` gives.
  const auto add = [&](const std::string& name, std::int64_t padding, const auto& numbers_of) {
    sessions::Feed feed{{static_cast<std::int64_t>(rows.size()), static_cast<std::int64_t>(length)},
                        std::vector<std::int64_t>(rows.size() * length, padding)};
    auto start = feed.numbers.begin();
    for (const Row* const row : rows) {
      const auto& numbers = numbers_of(*row);
      std::copy(numbers.begin(), numbers.end(), start);
      start += static_cast<std::ptrdiff_t>(length);
    }
    feeds.emplace(name, std::move(feed));
  };
  add("input_ids", pad_id, [](const Row& row) -> const auto& { return row.encoded.ids; });
  add("token_type_ids", 0, [](const Row& row) -> const auto& { return row.encoded.type_ids; });
  add("attention_mask", 0, [](const Row& row) {
    return std::vector<std::int64_t>(row.encoded.size(), 1);
  });
  for (const auto& [name, numbers] : rows.front()->extra) {
    add(name, 0, [&key = name](const Row& row) -> const auto& { return row.extra.at(key); });
  }
  return feeds;
}

std::vector<RowOutputs> split_outputs(const std::vector<const Row*>& rows,
                                      const sessions::Outputs& outputs,
                                      const std::vector<bundle::TensorSpec>& specs) {
  std::vector<RowOutputs> split(rows.size());
  for (const bundle::TensorSpec& spec : specs) {
    const sessions::Output& output = outputs.at(spec.name);
    const std::size_t row_size = output.numbers.size() / rows.size();
    for (std::size_t index = 0; index < rows.size(); ++index) {
      std::size_t kept = row_size;
      if (is_per_token(spec)) {
        kept = row_size / static_cast<std::size_t>(output.shape[1]) * rows[index]->encoded.size();
      }
      const float* const start = output.numbers.data() + index * row_size;
      split[index].emplace(spec.name, std::vector<float>(start, start + kept));
    }
  }
  return split;
}

}  // namespace bert_export::pipelines
