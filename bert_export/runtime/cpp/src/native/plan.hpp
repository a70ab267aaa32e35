// How a program is run: which operations pass over a block of rows together, and where values lie.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <vector>

#include "native/program_file.hpp"

namespace bert_export::native {

// Operations that run one after the other over a block of rows, so that what lies between them stays
// in the processor's caches; or one operation that needs whole texts.
struct Pass {
  bool row_by_row = false;
  Rows rows = Rows::tokens;
  std::vector<std::size_t> operations;
};

// Where the rows of a value lie: so many bytes per row behind the start of its area, all rows of one
// value together.
struct Place {
  bool local = false;  // in the area of a block, or else in that of its kind of rows
  std::size_t offset = 0;
};

// An operation's results: where its numbers are computed, and which copies are made from there.
struct Results {
  std::optional<ValueId> first;  // what the operation itself writes; a norm may write copies alone
  std::optional<ValueId> bf16;  // copies in other formats
  std::optional<ValueId> bytes;
  // The operation that quantizes this one's float32 result, and runs together with it.
  std::optional<std::size_t> quantize;

  bool copied() const { return bf16.has_value() || bytes.has_value(); }
};

struct Plan {
  std::vector<Value> values;  // the program's, and float32 ones that no operation names
  std::vector<Results> results;  // per operation
  std::vector<Place> places;     // per value
  std::vector<Pass> passes;
  // Bytes per row of the areas.
  std::array<std::size_t, kinds_of_rows> areas{};
  std::size_t local_area = 0;
};

// Bytes of a value's row with its padding.
std::size_t row_bytes(const Value& value);

Plan make_plan(const ProgramFile& program);

}  // namespace bert_export::native
