#include "native/plan.hpp"

#include <algorithm>
#include <limits>

namespace bert_export::native {
namespace {

constexpr std::size_t never = std::numeric_limits<std::size_t>::max();

// Hands out parts of an area; what was given back is handed out again.
class Area {
 public:
  std::size_t take(std::size_t bytes) {
    std::size_t offset = 0;
    auto place = taken_.begin();
    while (place != taken_.end() && place->first - offset < bytes) {
      offset = place->first + place->second;
      ++place;
    }
    taken_.insert(place, {offset, bytes});
    size_ = std::max(size_, offset + bytes);
    return offset;
  }
  void give_back(std::size_t offset) {
    taken_.erase(std::find_if(taken_.begin(), taken_.end(),
                              [&](const auto& part) { return part.first == offset; }));
  }
  std::size_t size() const { return size_; }

 private:
  std::vector<std::pair<std::size_t, std::size_t>> taken_;  // offsets and sizes, in order
  std::size_t size_ = 0;
};

class Planner {
 public:
  explicit Planner(const ProgramFile& program) : program_(program) {
    plan_.values = program.values;
  }

  Plan make() {
    for (std::size_t index = 0; index < program_.operations.size(); ++index) {
      plan_.results.push_back(results_of(index));
    }
    group();
    find_uses();
    plan_.places.resize(plan_.values.size());
    place();
    return std::move(plan_);
  }

 private:
  const Operation& operation(std::size_t index) const { return program_.operations[index]; }

  Results results_of(std::size_t index) {
    const Operation& own = operation(index);
    Results results;
    std::optional<ValueId> floats;
    for (const ValueId id : own.outputs) {
      switch (plan_.values[id].numbers) {
        case Numbers::f32: floats = id; break;
        case Numbers::bf16: results.bf16 = id; break;
        case Numbers::u8: results.bytes = id; break;
      }
    }
    // A row that is normalized is first a row of floats; so is one with two formats.
    const bool needs_floats = std::holds_alternative<EmbedOperation>(own.fields) ||
                              (results.bf16.has_value() && results.bytes.has_value());
    const bool norm = std::holds_alternative<NormOperation>(own.fields);
    if (!floats && needs_floats && !norm) {
      Value hidden = plan_.values[own.outputs.front()];
      hidden.numbers = Numbers::f32;
      floats = plan_.values.size();
      plan_.values.push_back(std::move(hidden));
    }
    if (norm) {
      results.first = floats;
    } else if (floats) {
      results.first = *floats;
    } else {
      results.first = own.outputs.front();
      results.bf16.reset();
      results.bytes.reset();
    }
    if (floats && !results.bytes) results.quantize = quantize_of(index, *floats);
    if (results.quantize) results.bytes = operation(*results.quantize).outputs.front();
    return results;
  }

  // The next operation, where it quantizes the floats of a norm.
  std::optional<std::size_t> quantize_of(std::size_t index, ValueId floats) const {
    const bool norm = std::holds_alternative<NormOperation>(operation(index).fields) ||
                      std::holds_alternative<EmbedOperation>(operation(index).fields);
    if (!norm || index + 1 == program_.operations.size()) return std::nullopt;
    const Operation& next = operation(index + 1);
    const auto* const quantize = std::get_if<QuantizeOperation>(&next.fields);
    const bool fits = quantize != nullptr && quantize->x == floats &&
                      plan_.values[next.outputs.front()].numbers == Numbers::u8;
    return fits ? std::optional(index + 1) : std::nullopt;
  }

  void group() {
    for (std::size_t index = 0; index < program_.operations.size(); ++index) {
      const auto& fields = operation(index).fields;
      const bool row_by_row = std::holds_alternative<EmbedOperation>(fields) ||
                              std::holds_alternative<NormOperation>(fields) ||
                              std::holds_alternative<LinearOperation>(fields) ||
                              std::holds_alternative<QuantizeOperation>(fields);
      const Rows rows = plan_.values[operation(index).outputs.front()].rows;
      std::vector<Pass>& passes = plan_.passes;
      if (!row_by_row || passes.empty() || !passes.back().row_by_row || passes.back().rows != rows) {
        passes.push_back({row_by_row, rows, {}});
      }
      passes.back().operations.push_back(index);
      if (plan_.results[index].quantize) ++index;
    }
  }

  // Where each value is written, and where it is read for the last time.
  void find_uses() {
    written_in_.assign(plan_.values.size(), never);
    last_pass_.assign(plan_.values.size(), 0);
    last_operation_.assign(plan_.values.size(), 0);
    for (std::size_t pass = 0; pass < plan_.passes.size(); ++pass) {
      for (const std::size_t index : plan_.passes[pass].operations) {
        for (const ValueId id : written_by(index)) {
          written_in_[id] = pass;
          last_pass_[id] = pass;
          last_operation_[id] = index;
        }
        for (const ValueId id : operation(index).inputs()) {
          last_pass_[id] = pass;
          last_operation_[id] = index;
        }
      }
    }
    for (const ProgramOutput& output : program_.outputs) last_pass_[output.value] = never;
  }

  std::vector<ValueId> written_by(std::size_t index) const {
    const Results& results = plan_.results[index];
    std::vector<ValueId> written;
    if (results.first) written.push_back(*results.first);
    if (results.bf16) written.push_back(*results.bf16);
    if (results.bytes) written.push_back(*results.bytes);
    return written;
  }

  bool is_local(ValueId id) const {
    return plan_.passes[written_in_[id]].row_by_row && last_pass_[id] == written_in_[id];
  }

  void place() {
    std::array<Area, kinds_of_rows> areas;
    for (std::size_t pass = 0; pass < plan_.passes.size(); ++pass) {
      Area local;
      std::vector<ValueId> in_block;
      for (const std::size_t index : plan_.passes[pass].operations) {
        for (const ValueId id : written_by(index)) {
          const Value& value = plan_.values[id];
          if (is_local(id)) {
            plan_.places[id] = {true, local.take(row_bytes(value))};
            in_block.push_back(id);
          } else {
            plan_.places[id] = {false, area_of(areas, value).take(row_bytes(value))};
          }
        }
        const auto last = std::partition(in_block.begin(), in_block.end(),
                                         [&](ValueId id) { return last_operation_[id] != index; });
        for (auto id = last; id != in_block.end(); ++id) local.give_back(plan_.places[*id].offset);
        in_block.erase(last, in_block.end());
      }
      plan_.local_area = std::max(plan_.local_area, local.size());
      for (ValueId id = 0; id < plan_.values.size(); ++id) {
        if (written_in_[id] == never || last_pass_[id] != pass || is_local(id)) continue;
        area_of(areas, plan_.values[id]).give_back(plan_.places[id].offset);
      }
    }
    for (std::size_t kind = 0; kind < kinds_of_rows; ++kind) plan_.areas[kind] = areas[kind].size();
  }

  static Area& area_of(std::array<Area, kinds_of_rows>& areas, const Value& value) {
    return areas[static_cast<std::size_t>(value.rows)];
  }

  const ProgramFile& program_;
  Plan plan_;
  std::vector<std::size_t> written_in_;
  std::vector<std::size_t> last_pass_;
  std::vector<std::size_t> last_operation_;
};

}  // namespace

std::size_t row_bytes(const Value& value) {
  return rounded_up(value.width, width_multiple) * bytes_of(value.numbers);
}

Plan make_plan(const ProgramFile& program) { return Planner(program).make(); }

}  // namespace bert_export::native
