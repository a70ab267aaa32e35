#include "native/execution.hpp"

#include <algorithm>
#include <cstring>

#include "native/bf16.hpp"
#include "native/text_operations.hpp"

namespace bert_export::native {
namespace {

// Rows of a block: what lies between its operations should stay in the second cache.
constexpr std::size_t cached_bytes = std::size_t{1} << 21U;
constexpr std::size_t fewest_rows = 64;
constexpr std::size_t most_rows = 256;
// With fewer rows per thread the columns are shared out instead: each thread reads its own weights.
constexpr std::size_t rows_per_thread = 32;
// Heads of short texts go together, so that a part is worth its handing out.
constexpr std::size_t tokens_of_part = 256;
// With one query they take less time.
constexpr std::size_t tokens_of_one_query = 1024;

std::size_t rows_of_block(const Plan& plan) {
  const std::size_t fitting = cached_bytes / std::max<std::size_t>(plan.local_area, 1);
  return std::min(std::max(fitting / row_slack * row_slack, fewest_rows), most_rows);
}

}  // namespace

Execution::Execution(const ProgramFile& program, const Plan& plan, const Prepared& prepared,
                     const Kernels& kernels, const Texts& texts, Workspace& workspace,
                     Team::Hold* team)
    : program_(program),
      plan_(plan),
      prepared_(prepared),
      kernels_(kernels),
      texts_(texts),
      team_(team),
      block_rows_(rows_of_block(plan)) {
  std::size_t longest = 1;
  for (std::size_t text = 0; text < texts.batch.texts; ++text) {
    longest = std::max(longest, texts.past(text) + texts.length(text));
  }
  scratch_bytes_ = rounded_up(attention_scratch(longest, prepared.head_size()), 64);
  // Columns are shared out with all rows in one block.
  block_rows_ = std::max(block_rows_, rows_per_thread * threads());

  std::size_t total = 0;
  std::array<std::size_t, kinds_of_rows> starts{};
  for (std::size_t kind = 0; kind < kinds_of_rows; ++kind) {
    starts[kind] = total;
    total += plan.areas[kind] * (count_of(static_cast<Rows>(kind)) + row_slack);
  }
  const std::size_t local = total;
  total += plan.local_area * (block_rows_ + row_slack) * threads();
  const std::size_t scratch = total;
  total += scratch_bytes_ * threads();
  if (workspace.memory.size() < total) {
    workspace.memory = Memory();  // first give back, then take
    workspace.memory = Memory(total);
  }
  auto* const memory = static_cast<std::uint8_t*>(workspace.memory.data());
  for (std::size_t kind = 0; kind < kinds_of_rows; ++kind) areas_[kind] = memory + starts[kind];
  local_ = memory + local;
  scratch_ = memory + scratch;
}

std::size_t Execution::count_of(Rows rows) const {
  switch (rows) {
    case Rows::tokens: return texts_.batch.tokens;
    case Rows::texts: return texts_.batch.texts;
    case Rows::masks: return texts_.batch.masks;
  }
  return 0;
}

Matrix Execution::rows_of(ValueId id, const Block& block) const {
  const Value& value = plan_.values[id];
  const Place& place = plan_.places[id];
  const std::size_t bytes = row_bytes(value);
  Matrix matrix;
  matrix.stride = rounded_up(value.width, width_multiple);
  matrix.rows = block.rows;
  matrix.width = value.width;
  if (place.local) {
    const std::size_t room = block_rows_ + row_slack;
    matrix.data = local_ + (block.slot * plan_.local_area + place.offset) * room;
  } else {
    const std::size_t room = count_of(value.rows) + row_slack;
    matrix.data =
        areas_[static_cast<std::size_t>(value.rows)] + place.offset * room + block.first * bytes;
  }
  return matrix;
}

Matrix Execution::whole(ValueId id) const {
  return rows_of(id, {0, count_of(plan_.values[id].rows), 0});
}

void Execution::run() {
  for (const Pass& pass : plan_.passes) {
    const std::size_t rows = count_of(pass.rows);
    if (rows == 0) continue;
    if (!pass.row_by_row) {
      run_whole(pass.operations.front());
    } else if (threads() > 1 && rows <= rows_per_thread * threads()) {
      run_columns(pass);
    } else {
      run_blocks(pass);
    }
  }
}

// Blocks of rows, each through all operations of the pass.
void Execution::run_blocks(const Pass& pass) {
  const std::size_t rows = count_of(pass.rows);
  // As many blocks as fill all threads, of nearly equal size.
  const std::size_t needed = rounded_up(rows, block_rows_) / block_rows_;
  const std::size_t count = rounded_up(needed, threads());
  const std::size_t size = rounded_up((rows + count - 1) / count, row_slack);
  const std::size_t blocks = (rows + size - 1) / size;
  for_each(blocks, [&](std::size_t block, std::size_t slot) {
    const std::size_t first = block * size;
    for (const std::size_t index : pass.operations) {
      run_row_by_row(index, {first, std::min(size, rows - first), slot}, {});
    }
  });
}

// One block of all rows, operation after operation; the threads share the columns of each.
void Execution::run_columns(const Pass& pass) {
  const Block block{0, count_of(pass.rows), 0};
  for (const std::size_t index : pass.operations) {
    const auto* const linear = std::get_if<Linear>(&prepared_[index].kernel);
    if (linear == nullptr || plan_.results[index].copied()) {
      run_row_by_row(index, block, {});
      continue;
    }
    const std::size_t groups = rounded_up(linear->width, width_multiple) / width_multiple;
    const std::size_t parts = std::min(groups, 2 * threads());
    for_each(parts, [&](std::size_t part, std::size_t) {
      run_row_by_row(index, block,
                     {part * groups / parts * width_multiple,
                      (part + 1) * groups / parts * width_multiple});
    });
  }
}

void Execution::run_row_by_row(std::size_t index, const Block& block, Columns columns) {
  const auto& fields = program_.operations[index].fields;
  if (std::holds_alternative<EmbedOperation>(fields)) {
    run_embed(index, block);
    copy_rows(index, block);
  } else if (std::holds_alternative<LinearOperation>(fields)) {
    run_linear(index, block, columns);
    if (plan_.results[index].copied()) copy_rows(index, block);
  } else if (std::holds_alternative<NormOperation>(fields)) {
    copy_rows(index, block);
  } else {
    run_quantize(index, block);
  }
}

void Execution::run_embed(std::size_t index, const Block& block) {
  const Matrix output = rows_of(*plan_.results[index].first, block);
  const std::int64_t* const numbers[3] = {texts_.batch.input_ids + block.first,
                                          texts_.batch.token_type_ids + block.first,
                                          texts_.batch.position_ids + block.first};
  kernels_.embed({std::get<PreparedEmbed>(prepared_[index].kernel).tables, numbers, block.rows,
                  output.width, output.floats(0), output.stride});
}

void Execution::run_linear(std::size_t index, const Block& block, Columns columns) {
  const auto& operation = std::get<LinearOperation>(program_.operations[index].fields);
  const auto& linear = std::get<Linear>(prepared_[index].kernel);
  const Matrix input = rows_of(operation.x, block);
  const Matrix output = rows_of(*plan_.results[index].first, block);
  LinearCall call;
  call.input = input.data;
  call.input_stride = input.stride;
  call.rows = block.rows;
  call.first_column = columns.first;
  call.last_column = columns.last == 0 ? rounded_up(linear.width, width_multiple) : columns.last;
  if (operation.residual) {
    const Matrix residual = rows_of(*operation.residual, block);
    call.residual = residual.floats(0);
    call.residual_stride = residual.stride;
  }
  call.output = output.data;
  call.output_stride = output.stride;
  kernels_.linear(linear, call);
}

// Normalizes the rows of a result where the operation does, and stores its copies.
void Execution::copy_rows(std::size_t index, const Block& block) {
  const Operation& operation = program_.operations[index];
  const Results& results = plan_.results[index];
  const PreparedRows& rows = prepared_[index].rows;
  const auto* const norm = std::get_if<NormOperation>(&operation.fields);
  const Matrix input = rows_of(norm != nullptr ? norm->x : *results.first, block);
  NormCall call{input.floats(0), input.stride, block.rows, input.width,
                rows.normalized ? &rows.norm : nullptr, {}};
  if (rows.normalized && results.first) {
    const Matrix floats = rows_of(*results.first, block);
    call.outputs.floats = floats.floats(0);
    call.outputs.floats_stride = floats.stride;
  }
  if (results.bf16) {
    const Matrix halves = rows_of(*results.bf16, block);
    call.outputs.bf16 = static_cast<std::uint16_t*>(halves.data);
    call.outputs.bf16_stride = halves.stride;
  }
  if (results.bytes) {
    const Matrix bytes = rows_of(*results.bytes, block);
    call.outputs.bytes = static_cast<std::uint8_t*>(bytes.data);
    call.outputs.bytes_stride = bytes.stride;
    call.outputs.shift = rows.shift;
    call.outputs.factor = rows.factor;
    call.outputs.zero_point = rows.zero_point;
  }
  kernels_.norm(call);
}

void Execution::run_quantize(std::size_t index, const Block& block) {
  const auto& operation = std::get<QuantizeOperation>(program_.operations[index].fields);
  const PreparedRows& rows = prepared_[index].rows;
  const ValueId id = *plan_.results[index].first;
  const Matrix input = rows_of(operation.x, block);
  const Matrix output = rows_of(id, block);
  if (plan_.values[id].numbers == Numbers::u8) {
    NormCall call{input.floats(0), input.stride, block.rows, input.width, nullptr, {}};
    call.outputs.bytes = static_cast<std::uint8_t*>(output.data);
    call.outputs.bytes_stride = output.stride;
    call.outputs.shift = rows.shift;
    call.outputs.factor = rows.factor;
    call.outputs.zero_point = rows.zero_point;
    kernels_.norm(call);
    return;
  }
  for (std::size_t row = 0; row < block.rows; ++row) {
    auto* const halves = static_cast<std::uint16_t*>(output.data) + row * output.stride;
    const float* const numbers = input.floats(row);
    std::fill(halves + output.width, halves + output.stride, std::uint16_t{0});
    for (std::size_t column = 0; column < output.width; ++column) {
      halves[column] = to_bf16((numbers[column] + rows.shift[column]) * rows.factor[column]);
    }
  }
}

// Operations that need all rows at once.
void Execution::run_whole(std::size_t index) {
  const Operation& operation = program_.operations[index];
  const auto& fields = operation.fields;
  if (std::holds_alternative<AttentionOperation>(fields)) return run_attention(index);
  const Matrix output = whole(*plan_.results[index].first);
  if (const auto* const gather = std::get_if<GatherOperation>(&fields)) {
    run_gather(gather->index, texts_, whole(gather->x), output,
               row_bytes(plan_.values[gather->x]));
  } else if (const auto* const pool = std::get_if<PoolOperation>(&fields)) {
    run_pool(*pool, texts_, whole(pool->x), output);
  } else if (const auto* const concat = std::get_if<ConcatOperation>(&fields)) {
    std::vector<Matrix> inputs;
    for (const ValueId id : concat->x) inputs.push_back(whole(id));
    run_concat(inputs, output);
  } else {
    const auto& normalize = std::get<NormalizeOperation>(fields);
    run_normalize(normalize.epsilon, whole(normalize.x), output);
  }
}

void Execution::run_attention(std::size_t index) {
  const auto& operation = std::get<AttentionOperation>(program_.operations[index].fields);
  const auto& attention = std::get<Attention>(prepared_[index].kernel);
  const Results& results = plan_.results[index];
  const Matrix query = whole(operation.query);
  const Matrix key = whole(operation.key);
  const Matrix value = whole(operation.value);
  const Matrix output = whole(*results.first);
  const bool of_texts = plan_.values[operation.query].rows == Rows::texts;
  const auto place = [](const Matrix& matrix, Numbers numbers, std::size_t row, std::size_t column) {
    return static_cast<void*>(static_cast<std::uint8_t*>(matrix.data) +
                              (row * matrix.stride + column) * bytes_of(numbers));
  };
  // The padding of a row is no head's.
  if (output.width != output.stride) {
    const std::size_t bytes = (output.stride - output.width) * bytes_of(attention.output);
    for (std::size_t row = 0; row < output.rows; ++row) {
      std::memset(place(output, attention.output, row, output.width), 0, bytes);
    }
  }

  // Each head's keys and values lie together in a cache.
  const bool kept = operation.cache.has_value() && texts_.batch.cache != nullptr;
  std::size_t tokens = texts_.batch.tokens;
  for (std::size_t text = 0; text < texts_.batch.texts; ++text) tokens += texts_.past(text);
  const std::size_t mean_length = std::max<std::size_t>(tokens / texts_.batch.texts, 1);
  const bool one_query = of_texts || texts_.batch.tokens == texts_.batch.texts;
  const std::size_t together =
      std::min(std::max<std::size_t>(
                   (one_query ? tokens_of_one_query : tokens_of_part) / mean_length, 1),
               operation.heads);
  const std::size_t groups = (operation.heads + together - 1) / together;
  for_each(texts_.batch.texts * groups, [&](std::size_t part, std::size_t slot) {
    const std::size_t text = part / groups;
    const std::size_t start = texts_.starts[text];
    const std::size_t first = of_texts ? text : start;
    const std::size_t last_head = std::min((part % groups + 1) * together, operation.heads);
    for (std::size_t head = part % groups * together; head < last_head; ++head) {
      const std::size_t column = head * attention.head_size;
      AttentionCall call;
      call.queries = place(query, attention.input, first, column);
      call.keys = place(key, attention.input, start, column);
      call.values = place(value, attention.input, start, column);
      call.queries_stride = query.stride;
      call.keys_stride = key.stride;
      call.values_stride = value.stride;
      call.length = texts_.length(text);
      call.query_count = of_texts ? 1 : call.length;
      if (kept) {
        const std::size_t record = *operation.cache;
        const std::size_t place_in_cache = texts_.first_text + text;
        keep(record, Cache::Part::keys, key, attention.input, text, head);
        keep(record, Cache::Part::values, value, attention.input, text, head);
        call.keys = texts_.batch.cache->head(record, Cache::Part::keys, place_in_cache, head);
        call.values = texts_.batch.cache->head(record, Cache::Part::values, place_in_cache, head);
        call.keys_stride = attention.head_size;
        call.values_stride = attention.head_size;
        call.past = texts_.past(text);
        call.length += call.past;
      }
      call.output = place(output, attention.output, first, column);
      call.output_stride = output.stride;
      call.scratch = scratch_ + slot * scratch_bytes_;
      kernels_.attention(attention, call);
    }
  });
  if (results.copied()) copy_rows(index, {0, output.rows, 0});
}

// Puts a head's new keys or values behind those of earlier calls.
void Execution::keep(std::size_t record, Cache::Part part, const Matrix& matrix, Numbers numbers,
                     std::size_t text, std::size_t head) const {
  const Cache& cache = *texts_.batch.cache;
  const std::size_t bytes = cache.head_bytes(record);
  const std::size_t row = matrix.stride * bytes_of(numbers);
  const auto* from =
      static_cast<const std::uint8_t*>(matrix.data) + texts_.starts[text] * row + head * bytes;
  auto* to = static_cast<std::uint8_t*>(cache.head(record, part, texts_.first_text + text, head)) +
             texts_.past(text) * bytes;
  for (std::size_t token = 0; token < texts_.length(text); ++token) {
    std::memcpy(to + token * bytes, from + token * row, bytes);
  }
}

}  // namespace bert_export::native
