#include "sessions/session.hpp"

#include <algorithm>

#include "bert_export/errors.hpp"

namespace bert_export::sessions {
namespace {

// The axis of a batch's masks, which may have none.
constexpr const char* masked_axis = "masked";
constexpr const char* sequence_axis = "sequence";
// The tokens of earlier calls, of which there may be none, and those with this call's.
constexpr const char* past_axis = "past";
constexpr const char* total_axis = "total";
// The tokens of a text that an encoder reads.
constexpr const char* source_axis = "source";
constexpr int most_threads = 1024;

bool has_axis(const bundle::TensorSpec& spec, const char* wanted) {
  return std::any_of(spec.shape.begin(), spec.shape.end(), [&](const auto& axis) {
    const auto* const name = std::get_if<std::string>(&axis);
    return name != nullptr && *name == wanted;
  });
}

std::string joined(std::vector<std::string> names) {
  std::sort(names.begin(), names.end());
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
  return list.empty() ? "none" : list;
}

void check_names(const std::vector<bundle::TensorSpec>& inputs, const Feeds& feeds) {
  const bool fits = feeds.size() == inputs.size() &&
                    std::all_of(inputs.begin(), inputs.end(), [&](const bundle::TensorSpec& spec) {
                      return feeds.count(spec.name) != 0;
                    });
  if (fits) return;
  std::vector<std::string> wanted;
  std::vector<std::string> given;
  for (const bundle::TensorSpec& spec : inputs) wanted.push_back(spec.name);
  for (const auto& [name, feed] : feeds) given.push_back(name);
  throw InputError("feeds do not name the graph's inputs", {joined(wanted), joined(given)});
}

void check_shape(const bundle::TensorSpec& spec, const Feed& feed,
                 std::map<std::string, std::int64_t>& sizes) {
  bool fits = feed.shape.size() == spec.shape.size();
  std::int64_t count = 1;
  bool may_be_empty = false;
  for (std::size_t axis = 0; axis < spec.shape.size() && fits; ++axis) {
    const std::int64_t size = feed.shape[axis];
    const auto* const name = std::get_if<std::string>(&spec.shape[axis]);
    const std::int64_t bound = name != nullptr ? sizes.emplace(*name, size).first->second
                                               : std::get<std::int64_t>(spec.shape[axis]);
    may_be_empty =
        may_be_empty || (name != nullptr && (*name == masked_axis || *name == past_axis));
    fits = size == bound && size >= 0;
    count *= size;
  }
  const std::size_t held = holds_floats(spec) ? feed.floats.size() : feed.numbers.size();
  if (!fits || count != static_cast<std::int64_t>(held)) {
    throw InputError("input " + spec.name + " has the wrong shape",
                     {axes_of(spec), shown(feed.shape)});
  }
  if (count == 0 && !may_be_empty) {
    throw InputError("input " + spec.name + " is empty", {"no axis of size 0", shown(feed.shape)});
  }
}

void check_numbers(const bundle::TensorSpec& spec, const Feed& feed) {
  if (!spec.below || feed.numbers.empty()) return;
  const auto [least, most] = std::minmax_element(feed.numbers.begin(), feed.numbers.end());
  if (*least >= 0 && *most < *spec.below) return;
  throw InputError("input " + spec.name + " holds a number that the model has no row for",
                   {"0 to " + std::to_string(*spec.below - 1),
                    std::to_string(*least) + " to " + std::to_string(*most)});
}

}  // namespace

std::map<std::string, std::int64_t> check_feeds(const std::vector<bundle::TensorSpec>& inputs,
                                                const Feeds& feeds,
                                                std::optional<std::int64_t> longest) {
  check_names(inputs, feeds);
  std::map<std::string, std::int64_t> sizes;
  for (const bundle::TensorSpec& spec : inputs) {
    const Feed& feed = feeds.at(spec.name);
    check_shape(spec, feed, sizes);
    check_numbers(spec, feed);
  }
  const auto size_of = [&](const char* axis) {
    const auto found = sizes.find(axis);
    return found == sizes.end() ? 0 : found->second;
  };
  // Into an encoder's own graph a text alone goes.
  const bool encodes = sizes.count(sequence_axis) == 0;
  const std::int64_t tokens =
      encodes ? size_of(source_axis) : size_of(sequence_axis) + size_of(past_axis);
  if (sizes.count(total_axis) != 0 && size_of(total_axis) != tokens) {
    throw InputError("attention_mask does not fit the cache",
                     {std::to_string(tokens) + " tokens, " + std::to_string(size_of(past_axis)) +
                          " of the cache and " + std::to_string(size_of(sequence_axis)) +
                          " of input_ids",
                      std::to_string(size_of(total_axis))});
  }
  if (longest && tokens > *longest) {
    throw InputError("rows are longer than the model takes",
                     {"at most " + std::to_string(*longest) + " tokens, its positions",
                      std::to_string(tokens)});
  }
  return sizes;
}

bool is_cache(const bundle::TensorSpec& spec) { return has_axis(spec, past_axis); }

bool holds_floats(const bundle::TensorSpec& spec) {
  return is_cache(spec) || (spec.shape.size() == 4 && has_axis(spec, source_axis));
}

void check_types(const std::string& path, const bundle::GraphRecord& graph) {
  for (const auto& [specs, dtype] :
       {std::pair(&graph.inputs, "int64"), std::pair(&graph.outputs, "float32")}) {
    for (const bundle::TensorSpec& spec : *specs) {
      const std::string wanted = holds_floats(spec) ? "float32" : dtype;
      if (spec.dtype == wanted) continue;
      throw BundleError("graph " + path + " has a tensor " + spec.name + " of an unsupported type",
                        {wanted, spec.dtype});
    }
  }
}

void check_threads(int threads) {
  if (threads >= 0 && threads <= most_threads) return;
  throw InputError("threads is wrong", {"a whole number from 1 to " + std::to_string(most_threads),
                                        std::to_string(threads)});
}

std::string axes_of(const bundle::TensorSpec& spec) {
  std::string list;
  for (const auto& axis : spec.shape) {
    const auto* const name = std::get_if<std::string>(&axis);
    list += list.empty() ? "" : ", ";
    list += name != nullptr ? *name : std::to_string(std::get<std::int64_t>(axis));
  }
  return "(" + list + ")";
}

std::string shown(const Shape& shape) {
  std::string list;
  for (const std::int64_t size : shape) list += (list.empty() ? "" : ", ") + std::to_string(size);
  return "(" + list + (shape.size() == 1 ? ",)" : ")");
}

}  // namespace bert_export::sessions
