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

sessions::Feeds pad_rows(const std::vector<const Encoded*>& rows, std::int64_t pad_id) {
  std::size_t length = 0;
  for (const Encoded* const row : rows) length = std::max(length, row->size());
  const sessions::Shape shape = {static_cast<std::int64_t>(rows.size()),
                                 static_cast<std::int64_t>(length)};
  sessions::Feed ids{shape, std::vector<std::int64_t>(rows.size() * length, pad_id)};
  sessions::Feed mask{shape, std::vector<std::int64_t>(rows.size() * length, 0)};
  sessions::Feed types = mask;
  for (std::size_t index = 0; index < rows.size(); ++index) {
    const auto start = static_cast<std::ptrdiff_t>(index * length);
    const Encoded& row = *rows[index];
    std::copy(row.ids.begin(), row.ids.end(), ids.numbers.begin() + start);
    std::fill_n(mask.numbers.begin() + start, row.size(), 1);
    std::copy(row.type_ids.begin(), row.type_ids.end(), types.numbers.begin() + start);
  }
  sessions::Feeds feeds;
  feeds.emplace("input_ids", std::move(ids));
  feeds.emplace("attention_mask", std::move(mask));
  feeds.emplace("token_type_ids", std::move(types));
  return feeds;
}

std::vector<RowOutputs> split_outputs(const std::vector<const Encoded*>& rows,
                                      const sessions::Outputs& outputs,
                                      const std::vector<bundle::TensorSpec>& specs) {
  std::vector<RowOutputs> split(rows.size());
  for (const bundle::TensorSpec& spec : specs) {
    const sessions::Output& output = outputs.at(spec.name);
    const std::size_t row_size = output.numbers.size() / rows.size();
    for (std::size_t index = 0; index < rows.size(); ++index) {
      std::size_t kept = row_size;
      if (is_per_token(spec)) {
        kept = row_size / static_cast<std::size_t>(output.shape[1]) * rows[index]->size();
      }
      const float* const start = output.numbers.data() + index * row_size;
      split[index].emplace(spec.name, std::vector<float>(start, start + kept));
    }
  }
  return split;
}

}  // namespace bert_export::pipelines
