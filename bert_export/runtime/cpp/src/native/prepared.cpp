#include "native/prepared.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "bert_export/errors.hpp"
#include "native/packing.hpp"
#include "text/printing.hpp"

namespace bert_export::native {
namespace {

Quantizer quantizer_of(const Value& value) { return {1.0F / value.scale, value.zero_point}; }

}  // namespace

Prepared::Prepared(const std::string& name, const ProgramFile& program, const Plan& plan,
                   const WeightsFile& weights)
    : name_(name), program_(program), plan_(plan), weights_(weights) {
  operations_.resize(program.operations.size());
  reserve_packed();
  for (std::size_t index = 0; index < operations_.size(); ++index) {
    const auto& fields = program.operations[index].fields;
    PreparedOperation& prepared = operations_[index];
    if (const auto* const embed = std::get_if<EmbedOperation>(&fields)) {
      const Tensor& word = program.tensors[embed->word];
      PreparedEmbed tables;
      tables.tables[0] = {Numbers::f32, weights.floats(word), nullptr};
      if (embed->word_scale) {
        scales(*embed->word_scale);
        tables.tables[0] = {Numbers::u8, weights.integers(word),
                            weights.floats(program.tensors[*embed->word_scale])};
      }
      tables.tables[1] = {Numbers::f32, weights.floats(program.tensors[embed->token_type]), nullptr};
      tables.tables[2] = {Numbers::f32, weights.floats(program.tensors[embed->position]), nullptr};
      prepared.kernel = tables;
    } else if (const auto* const linear = std::get_if<LinearOperation>(&fields)) {
      prepare_linear(*linear, plan.results[index], prepared);
    } else if (const auto* const attention = std::get_if<AttentionOperation>(&fields)) {
      const Value& output = plan.values[*plan.results[index].first];
      const std::size_t size = output.width / attention->heads;
      head_size_ = std::max(head_size_, size);
      prepared.kernel =
          Attention{plan.values[attention->query].numbers, output.numbers,    size,
                    attention->scale,                      attention->causal, quantizer_of(output)};
    }
    prepare_rows(index, prepared);
  }
  // Once more: what lies beside the numbers that were read since was mapped again with them.
  for (const auto& entry : packed_) weights_.forget(program.tensors[std::get<0>(entry.first)]);
}

void Prepared::prepare_linear(const LinearOperation& operation, const Results& results,
                              PreparedOperation& prepared) {
  const Value& x = plan_.values[operation.x];
  const Value& y = plan_.values[*results.first];
  const std::size_t padded_width = rounded_up(y.width, width_multiple);
  Linear linear;
  linear.input = x.numbers;
  linear.output = y.numbers;
  linear.activation = operation.activation;
  linear.depth = x.width;
  linear.width = y.width;
  linear.quantizer = quantizer_of(y);
  linear.bias = padded(operation.bias, y.width);
  const Packed& weights = packed(operation, x.numbers, x.width, y.width);
  linear.weights = weights.numbers;
  linear.narrow = weights.narrow;
  if (x.numbers == Numbers::u8) {
    // sum (q - z) w = sum q w - z sum w
    std::vector<std::int32_t> correction(padded_width, 0);
    for (std::size_t column = 0; column < y.width; ++column) {
      correction[column] = -x.zero_point * weights.column_sums[column];
    }
    corrections_.push_back(std::move(correction));
    linear.correction = corrections_.back().data();
    std::vector<float> scale = scales(*operation.weight_scale);
    for (float& number : scale) number *= x.scale;
    scale.resize(padded_width, 0.0F);
    linear.scale = keep(std::move(scale));
  }
  prepared.kernel = linear;
}

// The norm and the copies of an operation's result.
void Prepared::prepare_rows(std::size_t index, PreparedOperation& prepared) {
  const Operation& operation = program_.operations[index];
  const Results& results = plan_.results[index];
  PreparedRows& rows = prepared.rows;
  const std::size_t width = plan_.values[operation.outputs.front()].width;
  const auto normalize = [&](const auto& fields) {
    rows.normalized = true;
    rows.norm = {fields.epsilon, padded(fields.gamma, width), padded(fields.beta, width)};
  };
  if (const auto* const norm = std::get_if<NormOperation>(&operation.fields)) normalize(*norm);
  if (const auto* const embed = std::get_if<EmbedOperation>(&operation.fields)) normalize(*embed);

  // The factors of the bytes: those of a quantizing operation, times the inverse scale.
  const auto* quantize = std::get_if<QuantizeOperation>(&operation.fields);
  if (results.quantize) {
    quantize = std::get_if<QuantizeOperation>(&program_.operations[*results.quantize].fields);
  }
  if (quantize == nullptr && !results.bytes) return;
  rows.shift = padded(quantize == nullptr ? std::nullopt : quantize->add, width);
  std::vector<float> factor(rounded_up(width, width_multiple), 0.0F);
  const ValueId bytes = results.bytes.value_or(operation.outputs.front());
  const Value& value = plan_.values[bytes];
  rows.zero_point = value.zero_point;
  for (std::size_t column = 0; column < width; ++column) {
    factor[column] = 1.0F / value.scale;
    if (quantize != nullptr && quantize->multiply) {
      factor[column] *= weights_.floats(program_.tensors[*quantize->multiply])[column];
    }
  }
  rows.factor = keep(std::move(factor));
}

// All packed weights lie together: on huge pages, as a single one is too small for them.
void Prepared::reserve_packed() {
  std::set<PackedKey> known;
  std::size_t bytes = 0;
  for (const Operation& operation : program_.operations) {
    const auto* const linear = std::get_if<LinearOperation>(&operation.fields);
    if (linear == nullptr) continue;
    const Value& x = plan_.values[linear->x];
    if (!known.insert({linear->weight, x.numbers, linear->transposed}).second) continue;
    bytes += packed_bytes(x.numbers, x.width, plan_.values[operation.outputs.front()].width);
  }
  packed_memory_ = Memory(bytes);
}

const Prepared::Packed& Prepared::packed(const LinearOperation& operation, Numbers input,
                                         std::size_t depth, std::size_t width) {
  const auto [place, fresh] = packed_.try_emplace({operation.weight, input, operation.transposed});
  Packed& own = place->second;
  if (!fresh) return own;
  const Tensor& tensor = program_.tensors[operation.weight];
  const MatrixLayout matrix{depth, width, operation.transposed};
  own.numbers = static_cast<std::uint8_t*>(packed_memory_.data()) + packed_bytes_;
  packed_bytes_ += packed_bytes(input, depth, width);
  switch (input) {
    case Numbers::u8:
      own.column_sums.resize(width);
      own.narrow = pack_int8(weights_.integers(tensor), matrix,
                             static_cast<std::int8_t*>(own.numbers), own.column_sums.data());
      break;
    case Numbers::bf16:
      pack_bf16(weights_.floats(tensor), matrix, static_cast<std::uint16_t*>(own.numbers));
      break;
    case Numbers::f32:
      pack_floats(weights_.floats(tensor), matrix, static_cast<float*>(own.numbers));
      break;
  }
  weights_.forget(tensor);
  return own;
}

const float* Prepared::padded(std::optional<TensorId> tensor, std::size_t width) {
  std::vector<float> numbers(rounded_up(width, width_multiple), 0.0F);
  if (tensor) {
    const float* const own = weights_.floats(program_.tensors[*tensor]);
    std::copy(own, own + width, numbers.begin());
  }
  return keep(std::move(numbers));
}

const float* Prepared::keep(std::vector<float> numbers) {
  floats_.push_back(std::move(numbers));
  return floats_.back().data();
}

std::vector<float> Prepared::scales(TensorId tensor) {
  const Tensor& own = program_.tensors[tensor];
  const float* const numbers = weights_.floats(own);
  for (std::size_t index = 0; index < own.count(); ++index) {
    if (std::isfinite(numbers[index]) && numbers[index] > 0.0F) continue;
    throw BundleError("program " + name_ + " is not legal",
                      {"scales of weights that are finite and above 0",
                       text::shown(double{numbers[index]}), "Export the bundle again"});
  }
  return {numbers, numbers + own.count()};
}

}  // namespace bert_export::native
