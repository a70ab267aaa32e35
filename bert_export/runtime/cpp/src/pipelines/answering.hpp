// Items to rows, rows through the graph, and what is kept of them to answers: a chunk of items at a
// time, so that memory is bounded whatever a call brings.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "pipelines/opened_bundle.hpp"

namespace bert_export::pipelines {

// Items of the first chunk; each chunk may be so many times as large as the one before, and have so
// many rows.
inline constexpr std::size_t first_chunk = 64;
inline constexpr std::size_t chunk_growth = 8;
inline constexpr std::size_t chunk_rows = 4096;

// What is kept of each row's outputs, in the rows' order.
template <typename Reduce>
auto reduce_rows(const OpenedBundle& bundle, const std::vector<const Row*>& rows,
                 std::optional<std::size_t> batch_size, const Reduce& reduce) {
  using Reduced = std::decay_t<decltype(reduce(*rows[0], std::declval<const RowOutputs&>()))>;
  std::vector<Reduced> kept(rows.size());
  bundle.run_rows(rows, batch_size, [&](std::size_t index, const RowOutputs& outputs) {
    kept[index] = reduce(*rows[index], outputs);
  });
  return kept;
}

// The answers to `count` items, in order. An InputError names the item, where a call has several.
//
// `encode` gives the rows of an item by its place, `complete` what is kept of each of many rows,
// and `decode` an item's answer from its place, its rows and what was kept of them.
template <typename Encode, typename Complete, typename Decode>
auto complete_items(const OpenedBundle& bundle, std::size_t count, bool several,
                    const Encode& encode, const Complete& complete, const Decode& decode) {
  using Reduced = typename decltype(complete({}))::value_type;
  using Answer = std::decay_t<decltype(decode(0, std::vector<Row>(), std::vector<Reduced>()))>;
  std::vector<Answer> answers(count);
  std::size_t size = first_chunk;
  for (std::size_t start = 0; start < count;) {
    const std::size_t items = std::min(size, count - start);
    const auto named = [&](std::size_t item, const auto& step) {
      return several ? naming_item(start + item, step) : step();
    };
    std::vector<std::vector<Row>> rows_of(items);
    bundle.for_each(items, [&](std::size_t item) {
      rows_of[item] = named(item, [&] { return encode(start + item); });
    });
    std::vector<const Row*> rows;
    std::vector<std::size_t> starts;
    for (const std::vector<Row>& own : rows_of) {
      starts.push_back(rows.size());
      for (const Row& row : own) rows.push_back(&row);
    }
    starts.push_back(rows.size());
    std::vector<Reduced> kept = complete(rows);
    bundle.for_each(items, [&](std::size_t item) {
      const auto first = kept.begin() + static_cast<std::ptrdiff_t>(starts[item]);
      const auto last = kept.begin() + static_cast<std::ptrdiff_t>(starts[item + 1]);
      const std::vector<Reduced> own(std::make_move_iterator(first), std::make_move_iterator(last));
      answers[start + item] = named(item, [&] { return decode(start + item, rows_of[item], own); });
    });
    start += items;
    size = std::clamp<std::size_t>(chunk_rows * items / std::max<std::size_t>(rows.size(), 1), 1,
                                   chunk_growth * items);
  }
  return answers;
}

// As complete_items, for a task that runs each row once: `reduce` keeps of a row's outputs what the
// answer needs.
template <typename Encode, typename Reduce, typename Decode>
auto answer_items(const OpenedBundle& bundle, std::size_t count, bool several,
                  std::optional<std::size_t> batch_size, const Encode& encode, const Reduce& reduce,
                  const Decode& decode) {
  if (batch_size) check_whole<std::size_t>("batch_size", *batch_size, 1);
  return complete_items(
      bundle, count, several, encode,
      [&](const std::vector<const Row*>& rows) {
        return reduce_rows(bundle, rows, batch_size, reduce);
      },
      decode);
}

}  // namespace bert_export::pipelines
