#include "sessions/pieces.hpp"

#include <algorithm>
#include <iterator>

namespace bert_export::sessions {
namespace {

constexpr const char* positions_name = "masked_positions";

bool begins_with(const bundle::TensorSpec& spec, const char* axis) {
  if (spec.shape.empty()) return false;
  const auto* const name = std::get_if<std::string>(&spec.shape.front());
  return name != nullptr && *name == axis;
}

// The numbers of some rows.
Feed slice(const Feed& feed, std::size_t first, std::size_t last) {
  const std::size_t size = feed.numbers.size() / static_cast<std::size_t>(feed.shape.front());
  Feed part{feed.shape, {}};
  part.shape.front() = static_cast<std::int64_t>(last - first);
  const auto start = feed.numbers.begin();
  part.numbers.assign(start + static_cast<std::ptrdiff_t>(first * size),
                      start + static_cast<std::ptrdiff_t>(last * size));
  return part;
}

// The masks of each piece, counted from its own first token. Empty where they cannot be dealt out.
std::vector<Feed> cut_positions(const Feed& positions, const std::vector<std::size_t>& bounds,
                                std::size_t tokens) {
  const std::vector<std::int64_t>& numbers = positions.numbers;
  if (!std::is_sorted(numbers.begin(), numbers.end())) return {};
  const auto find = [&](std::size_t row) {
    return std::lower_bound(numbers.begin(), numbers.end(), static_cast<std::int64_t>(row * tokens));
  };
  if (find(bounds.front()) != numbers.begin() || find(bounds.back()) != numbers.end()) return {};
  std::vector<Feed> parts;
  for (std::size_t index = 0; index + 1 < bounds.size(); ++index) {
    const auto offset = static_cast<std::int64_t>(bounds[index] * tokens);
    Feed part;
    std::transform(find(bounds[index]), find(bounds[index + 1]), std::back_inserter(part.numbers),
                   [&](std::int64_t number) { return number - offset; });
    if (part.numbers.empty()) return {};
    part.shape = {static_cast<std::int64_t>(part.numbers.size())};
    parts.push_back(std::move(part));
  }
  return parts;
}

}  // namespace

bool can_cut(const bundle::GraphRecord& graph) {
  // To copy keys and values costs more than the pieces save.
  if (std::any_of(graph.inputs.begin(), graph.inputs.end(), holds_floats)) return false;
  const auto is_cut = [](const bundle::TensorSpec& spec) {
    return begins_with(spec, "batch") ||
           (spec.name == positions_name && spec.shape.size() == 1 && begins_with(spec, "masked"));
  };
  const auto is_joined = [](const bundle::TensorSpec& spec) {
    return begins_with(spec, "batch") || begins_with(spec, "masked");
  };
  return std::all_of(graph.inputs.begin(), graph.inputs.end(), is_cut) &&
         std::all_of(graph.outputs.begin(), graph.outputs.end(), is_joined);
}

std::vector<Feeds> cut_feeds(const bundle::GraphRecord& graph, const Feeds& feeds) {
  // The first input that is no list of masks says how many rows there are, of how many tokens.
  const auto first = std::find_if(graph.inputs.begin(), graph.inputs.end(),
                                  [](const auto& spec) { return spec.name != positions_name; });
  if (first == graph.inputs.end()) return {};
  const Shape& shape = feeds.at(first->name).shape;
  const auto rows = static_cast<std::size_t>(shape.front());
  std::size_t tokens = 1;
  for (std::size_t axis = 1; axis < shape.size(); ++axis) {
    tokens *= static_cast<std::size_t>(shape[axis]);
  }
  if (rows == 0 || tokens == 0) return {};
  const std::size_t most = std::max<std::size_t>(1, piece_tokens / tokens);
  const std::size_t pieces = (rows + most - 1) / most;
  if (pieces == 1) return {};
  const std::size_t size = (rows + pieces - 1) / pieces;
  std::vector<std::size_t> bounds;
  for (std::size_t start = 0; start < rows; start += size) bounds.push_back(start);
  bounds.push_back(rows);

  std::vector<Feeds> cut(bounds.size() - 1);
  for (const auto& [name, feed] : feeds) {
    std::vector<Feed> parts;
    if (name == positions_name) {
      parts = cut_positions(feed, bounds, tokens);
      if (parts.empty()) return {};
    } else {
      for (std::size_t index = 0; index < cut.size(); ++index) {
        parts.push_back(slice(feed, bounds[index], bounds[index + 1]));
      }
    }
    for (std::size_t index = 0; index < cut.size(); ++index) {
      cut[index].emplace(name, std::move(parts[index]));
    }
  }
  return cut;
}

Outputs join_outputs(std::vector<Outputs> pieces) {
  Outputs joined = std::move(pieces.front());
  for (std::size_t index = 1; index < pieces.size(); ++index) {
    for (auto& [name, output] : joined) {
      const Output& more = pieces[index].at(name);
      output.shape.front() += more.shape.front();
      output.numbers.insert(output.numbers.end(), more.numbers.begin(), more.numbers.end());
    }
  }
  return joined;
}

}  // namespace bert_export::sessions
