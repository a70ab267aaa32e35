#include "pipelines/batching.hpp"

#include <algorithm>
#include <numeric>

#include "bert_export/errors.hpp"

namespace bert_export::pipelines {
namespace {

bool is_axis(const bundle::TensorSpec& spec, std::size_t place, const char* name) {
  const auto* const axis =
      spec.shape.size() > place ? std::get_if<std::string>(&spec.shape[place]) : nullptr;
  return axis != nullptr && *axis == name;
}

const bundle::TensorSpec* find_spec(const std::vector<bundle::TensorSpec>& specs,
                                    const std::string& name) {
  const auto found = std::find_if(specs.begin(), specs.end(), [&](const bundle::TensorSpec& spec) {
    return spec.name == name;
  });
  return found == specs.end() ? nullptr : &*found;
}

std::size_t count_masks(const Row& row, std::optional<std::int64_t> mask_id) {
  if (!mask_id) return 0;
  return static_cast<std::size_t>(
      std::count(row.encoded.ids.begin(), row.encoded.ids.end(), *mask_id));
}

// Where masks stand in the flattened ids.
sessions::Feed find_masks(const sessions::Feed& ids, std::optional<std::int64_t> mask_id) {
  sessions::Feed places;
  for (std::size_t place = 0; mask_id && place < ids.numbers.size(); ++place) {
    if (ids.numbers[place] == *mask_id) {
      places.numbers.push_back(static_cast<std::int64_t>(place));
    }
  }
  places.shape = {static_cast<std::int64_t>(places.numbers.size())};
  return places;
}

// Refuses an output that has other axes than the manifest says: rows are cut out by them.
void check_output(const bundle::TensorSpec& spec, const sessions::Output& output,
                  const std::vector<const Row*>& rows, std::size_t masks) {
  std::size_t longest = 0;
  for (const Row* const row : rows) longest = std::max(longest, row->encoded.size());
  const sessions::Shape& shape = output.shape;
  bool fits = shape.size() == spec.shape.size() && !shape.empty();
  std::size_t count = 1;
  for (std::size_t place = 0; place < spec.shape.size() && fits; ++place) {
    const auto size = static_cast<std::size_t>(shape[place]);
    const auto* const fixed = std::get_if<std::int64_t>(&spec.shape[place]);
    if (fixed != nullptr) fits = shape[place] == *fixed;
    if (is_axis(spec, place, "batch")) fits = size == rows.size();
    if (is_axis(spec, place, "masked")) fits = size == masks;
    if (is_axis(spec, place, "sequence")) fits = size >= longest;
    count *= size;
  }
  if (fits && count == output.numbers.size()) return;
  throw BundleError("graph gives output " + spec.name + " in another shape than the manifest says",
                    {sessions::axes_of(spec), sessions::shown(shape), "Export the bundle again"});
}

}  // namespace

std::vector<std::vector<std::size_t>> batch_rows(const std::vector<std::size_t>& lengths,
                                                 std::size_t token_budget, bool sort,
                                                 std::optional<std::size_t> max_rows) {
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
    const bool fits = !batches.empty() && (batches.back().size() + 1) * longest <= token_budget &&
                      (!max_rows || batches.back().size() < *max_rows);
    if (fits) {
      batches.back().push_back(index);
    } else {
      batches.push_back({index});
      longest = lengths[index];
    }
  }
  return batches;
}

sessions::Feeds pad_rows(const std::vector<const Row*>& rows, std::int64_t pad_id,
                         std::size_t length, const std::vector<bundle::TensorSpec>& specs,
                         std::optional<std::int64_t> mask_id) {
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
  add("attention_mask", 0,
      [](const Row& row) { return std::vector<std::int64_t>(row.encoded.size(), 1); });
  for (const auto& [name, numbers] : rows.front()->extra) {
    add(name, 0, [&key = name](const Row& row) -> const auto& { return row.extra.at(key); });
  }
  const bundle::TensorSpec* const ids = find_spec(specs, "input_ids");
  if (ids != nullptr && ids->shape.size() == 3) {
    for (auto& [name, feed] : feeds) feed.shape.insert(feed.shape.begin() + 1, 1);
  }
  if (find_spec(specs, masked_positions) != nullptr) {
    feeds.emplace(masked_positions, find_masks(feeds.at("input_ids"), mask_id));
  }
  return feeds;
}

std::vector<RowOutputs> split_outputs(const std::vector<const Row*>& rows,
                                      const sessions::Outputs& outputs,
                                      const std::vector<bundle::TensorSpec>& specs,
                                      std::optional<std::int64_t> mask_id) {
  std::vector<RowOutputs> split(rows.size());
  std::size_t masks = 0;
  for (const Row* const row : rows) masks += count_masks(*row, mask_id);
  for (const bundle::TensorSpec& spec : specs) {
    const sessions::Output& output = outputs.at(spec.name);
    check_output(spec, output, rows, masks);
    const float* start = output.numbers.data();
    const std::size_t items = output.shape.empty() ? 0 : static_cast<std::size_t>(output.shape[0]);
    const std::size_t size = items == 0 ? 0 : output.numbers.size() / items;
    for (std::size_t index = 0; index < rows.size(); ++index) {
      std::size_t taken = size;
      if (is_axis(spec, 0, "masked")) taken = size * count_masks(*rows[index], mask_id);
      std::size_t kept = taken;
      if (is_axis(spec, 1, "sequence")) {
        kept = size / static_cast<std::size_t>(output.shape[1]) * rows[index]->encoded.size();
      }
      split[index].emplace(spec.name, decoding::Vector(start, kept));
      start += taken;
    }
  }
  return split;
}

}  // namespace bert_export::pipelines
