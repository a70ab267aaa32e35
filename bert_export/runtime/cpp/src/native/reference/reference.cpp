// What the kernels compute, in plain C++.
#include <algorithm>
#include <cmath>
#include <vector>

#include "native/bf16.hpp"
#include "native/kernel_tables.hpp"
#include "native/packing.hpp"

namespace bert_export::native {
namespace {

std::uint8_t quantized(float number, float factor, std::int32_t zero_point) {
  const auto least = static_cast<float>(-zero_point);
  const float level = std::max(std::min(number * factor, 255.0F + least), least);
  return static_cast<std::uint8_t>(static_cast<std::int32_t>(std::nearbyint(level)) + zero_point);
}

// The number of a matrix of any kind, as a float.
float number_at(Numbers numbers, const void* data, std::size_t place) {
  switch (numbers) {
    case Numbers::u8: return static_cast<const std::uint8_t*>(data)[place];
    case Numbers::bf16: return from_bf16(static_cast<const std::uint16_t*>(data)[place]);
    case Numbers::f32: return static_cast<const float*>(data)[place];
  }
  return 0.0F;
}

void store(Numbers numbers, void* data, std::size_t place, float number, const Quantizer& quantizer) {
  switch (numbers) {
    case Numbers::u8:
      static_cast<std::uint8_t*>(data)[place] =
          quantized(number, quantizer.inverse_scale, quantizer.zero_point);
      return;
    case Numbers::bf16: static_cast<std::uint16_t*>(data)[place] = to_bf16(number); return;
    case Numbers::f32: static_cast<float*>(data)[place] = number; return;
  }
}

float activated(Activation activation, float x) {
  switch (activation) {
    case Activation::none: return x;
    case Activation::gelu: return 0.5F * x * (1.0F + std::erf(x * 0.70710678F));
    case Activation::gelu_tanh:
      return 0.5F * x * (1.0F + std::tanh(0.79788456F * (x + 0.044715F * x * x * x)));
    case Activation::relu: return std::max(x, 0.0F);
    case Activation::tanh: return std::tanh(x);
    case Activation::sigmoid: return 1.0F / (1.0F + std::exp(-x));
    case Activation::silu: return x / (1.0F + std::exp(-x));
  }
  return x;
}

// A row of x times a column of W, with the bias.
float product(const Linear& linear, const void* input, std::size_t row, std::size_t column) {
  if (linear.input == Numbers::u8) {
    const auto* const bytes = static_cast<const std::uint8_t*>(input) + row;
    const auto* const weights = static_cast<const std::int8_t*>(linear.weights);
    std::int64_t sum = linear.correction[column];
    for (std::size_t place = 0; place < linear.depth; ++place) {
      sum += bytes[place] * weights[packed_place(Numbers::u8, linear.depth, place, column)];
    }
    return std::fma(static_cast<float>(sum), linear.scale[column], linear.bias[column]);
  }
  float sum = 0.0F;
  for (std::size_t place = 0; place < linear.depth; ++place) {
    sum += number_at(linear.input, input, row + place) *
           number_at(linear.input, linear.weights,
                     packed_place(linear.input, linear.depth, place, column));
  }
  return sum + linear.bias[column];
}

void run_linear(const Linear& linear, const LinearCall& call) {
  for (std::size_t row = 0; row < call.rows; ++row) {
    for (std::size_t column = call.first_column; column < call.last_column; ++column) {
      float number = 0.0F;
      if (column < linear.width) {
        number = product(linear, call.input, row * call.input_stride, column);
      }
      number = activated(linear.activation, number);
      if (call.residual != nullptr) number += call.residual[row * call.residual_stride + column];
      store(linear.output, call.output, row * call.output_stride + column, number,
            linear.quantizer);
    }
  }
}

void run_norm(const NormCall& call) {
  const RowOutputs& outputs = call.outputs;
  for (std::size_t row = 0; row < call.rows; ++row) {
    const float* const numbers = call.input + row * call.input_stride;
    const std::size_t width = call.width;
    float mean = 0.0F;
    float inverse = 1.0F;
    if (call.norm != nullptr) {
      for (std::size_t column = 0; column < width; ++column) mean += numbers[column];
      mean /= static_cast<float>(width);
      float squares = 0.0F;
      for (std::size_t column = 0; column < width; ++column) {
        squares += (numbers[column] - mean) * (numbers[column] - mean);
      }
      inverse = 1.0F / std::sqrt(squares / static_cast<float>(width) + call.norm->epsilon);
    }
    for (std::size_t column = 0; column < rounded_up(width, width_multiple); ++column) {
      float number = column < width ? numbers[column] : 0.0F;
      if (call.norm != nullptr && column < width) {
        number = std::fma((number - mean) * inverse, call.norm->gain[column],
                          call.norm->bias[column]);
      }
      if (outputs.floats != nullptr) outputs.floats[row * outputs.floats_stride + column] = number;
      if (outputs.bf16 != nullptr) outputs.bf16[row * outputs.bf16_stride + column] = to_bf16(number);
      if (outputs.bytes != nullptr) {
        outputs.bytes[row * outputs.bytes_stride + column] =
            quantized(number + outputs.shift[column], outputs.factor[column], outputs.zero_point);
      }
    }
  }
}

void run_attention(const Attention& attention, const AttentionCall& call) {
  const std::size_t size = attention.head_size;
  std::vector<float> scores(call.length);
  std::vector<float> numerators(call.length);
  for (std::size_t row = 0; row < call.query_count; ++row) {
    const std::size_t seen = attention.causal ? call.past + row + 1 : call.length;
    float most = -INFINITY;
    for (std::size_t key = 0; key < seen; ++key) {
      float sum = 0.0F;
      for (std::size_t place = 0; place < size; ++place) {
        sum += number_at(attention.input, call.queries, row * call.queries_stride + place) *
               number_at(attention.input, call.keys, key * call.keys_stride + place);
      }
      scores[key] = sum;
      most = std::max(most, sum);
    }
    float total = 0.0F;
    for (std::size_t key = 0; key < seen; ++key) {
      const float numerator = std::exp((scores[key] - most) * attention.scale);
      total += numerator;
      numerators[key] =
          attention.input == Numbers::bf16 ? from_bf16(to_bf16(numerator)) : numerator;
    }
    for (std::size_t place = 0; place < size; ++place) {
      float sum = 0.0F;
      for (std::size_t key = 0; key < seen; ++key) {
        sum += numerators[key] *
               number_at(attention.input, call.values, key * call.values_stride + place);
      }
      store(attention.output, call.output, row * call.output_stride + place, sum / total,
            attention.quantizer);
    }
  }
}

float embedded(const Table& table, std::int64_t number, std::size_t width, std::size_t column) {
  const std::size_t place = static_cast<std::size_t>(number) * width + column;
  if (table.numbers == Numbers::f32) return static_cast<const float*>(table.rows)[place];
  return static_cast<float>(static_cast<const std::int8_t*>(table.rows)[place]) *
         table.scales[number];
}

void run_embed(const EmbedCall& call) {
  for (std::size_t row = 0; row < call.rows; ++row) {
    float* const output = call.output + row * call.output_stride;
    std::fill(output, output + rounded_up(call.width, width_multiple), 0.0F);
    for (std::size_t column = 0; column < call.width; ++column) {
      for (std::size_t index = 0; index < 3; ++index) {
        output[column] +=
            embedded(call.tables[index], call.numbers[index][row], call.width, column);
      }
    }
  }
}

}  // namespace

const Kernels reference_kernels{InstructionSet::reference, run_linear, run_norm, run_attention,
                                run_embed};

}  // namespace bert_export::native
