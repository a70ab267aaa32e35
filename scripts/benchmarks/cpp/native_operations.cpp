// How fast the native target's kernels are, one by one:
//
//     native_operations [SECONDS]
//
// For every set of kernels of this machine and every operation a line `SET|OPERATION|MICROSECONDS|TOPS`;
// the fastest of the calls within some seconds of processor time, as other work on the machine only
// makes calls slower.

#include <cstdlib>
#include <string>
#include <vector>

#include "fastest.hpp"
#include "native/kernels.hpp"
#include "native/memory.hpp"
#include "native/packing.hpp"

namespace {

using namespace bert_export::native;  // NOLINT

struct LinearShape {
  const char* name;
  std::size_t rows, depth, width;
  Numbers output;
  Activation activation;
  bool residual;
};

void measure_linear(const Kernels& kernels, const LinearShape& shape, double seconds) {
  Memory input((shape.rows + row_slack) * shape.depth);
  Memory output((shape.rows + row_slack) * shape.width * sizeof(float));
  Memory residual((shape.rows + row_slack) * shape.width * sizeof(float));
  Memory weights(packed_bytes(Numbers::u8, shape.depth, shape.width));
  auto* const bytes = static_cast<std::uint8_t*>(input.data());
  for (std::size_t i = 0; i < input.size(); ++i) bytes[i] = static_cast<std::uint8_t>(i * 7);
  auto* const packed = static_cast<std::int8_t*>(weights.data());
  for (std::size_t i = 0; i < weights.size(); ++i) packed[i] = static_cast<std::int8_t>(i % 127) - 63;
  const std::vector<std::int32_t> correction(shape.width);
  const std::vector<float> scale(shape.width, 1e-4F);
  const std::vector<float> bias(shape.width, 0.1F);
  Linear linear;
  linear.input = Numbers::u8;
  linear.output = shape.output;
  linear.activation = shape.activation;
  linear.narrow = true;
  linear.depth = shape.depth;
  linear.width = shape.width;
  linear.weights = weights.data();
  linear.correction = correction.data();
  linear.scale = scale.data();
  linear.bias = bias.data();
  linear.quantizer = {50.0F, 128};
  LinearCall call;
  call.input = input.data();
  call.input_stride = shape.depth;
  call.rows = shape.rows;
  call.last_column = shape.width;
  call.output = output.data();
  call.output_stride = shape.width;
  if (shape.residual) call.residual = static_cast<const float*>(residual.data());
  call.residual_stride = shape.width;
  const std::string name = std::string(shape.name) + " " + std::to_string(shape.rows) + "x" +
                           std::to_string(shape.depth) + "x" + std::to_string(shape.width);
  measure(kernels.set, name.c_str(),
          2.0 * static_cast<double>(shape.rows) * static_cast<double>(shape.depth) *
              static_cast<double>(shape.width),
          seconds, [&] { kernels.linear(linear, call); });
}

void measure_attention(const Kernels& kernels, std::size_t length, std::size_t size,
                       double seconds) {
  constexpr std::size_t heads = 12;
  Memory numbers((length + row_slack) * heads * size * sizeof(std::uint16_t));
  Memory output((length + row_slack) * heads * size);
  Memory scratch(attention_scratch(length, size));
  const Attention attention{Numbers::bf16, Numbers::u8, size, 0.2F, false, {50.0F, 128}};
  const auto queries = static_cast<std::uint16_t*>(numbers.data());
  const double sums = static_cast<double>(length) * static_cast<double>(length);
  const std::string name =
      "attention, a head of " + std::to_string(length) + "x" + std::to_string(size);
  measure(kernels.set, name.c_str(), 4.0 * sums * static_cast<double>(size), seconds, [&] {
            AttentionCall call;
            call.queries = call.keys = call.values = queries;
            call.queries_stride = call.keys_stride = call.values_stride = heads * size;
            call.query_count = call.length = length;
            call.output = output.data();
            call.output_stride = heads * size;
            call.scratch = scratch.data();
            kernels.attention(attention, call);
          });
}

void measure_norm(const Kernels& kernels, std::size_t rows, std::size_t width, double seconds) {
  Memory input(rows * width * sizeof(float));
  Memory floats(rows * width * sizeof(float));
  Memory bytes(rows * width);
  const std::vector<float> ones(width, 1.0F);
  const Norm norm{1e-12F, ones.data(), ones.data()};
  NormCall call{static_cast<float*>(input.data()), width, rows, width, &norm, {}};
  call.outputs.floats = static_cast<float*>(floats.data());
  call.outputs.floats_stride = width;
  call.outputs.bytes = static_cast<std::uint8_t*>(bytes.data());
  call.outputs.bytes_stride = width;
  call.outputs.shift = call.outputs.factor = ones.data();
  const std::string name =
      "norm and bytes " + std::to_string(rows) + "x" + std::to_string(width);
  measure(kernels.set, name.c_str(), 0.0, seconds, [&] { kernels.norm(call); });
}

}  // namespace

int main(int count, char** arguments) {
  const double seconds = count > 1 ? std::atof(arguments[1]) : 0.2;
  const LinearShape shapes[] = {
      {"queries", 128, 384, 384, Numbers::bf16, Activation::none, false},
      {"attention output", 128, 384, 384, Numbers::f32, Activation::none, true},
      {"inner with GELU", 128, 384, 1536, Numbers::u8, Activation::gelu, false},
      {"output", 128, 1536, 384, Numbers::f32, Activation::none, true},
      {"inner with GELU", 16, 384, 1536, Numbers::u8, Activation::gelu, false},
      {"queries", 256, 768, 768, Numbers::bf16, Activation::none, false},
      {"inner with GELU", 256, 768, 3072, Numbers::u8, Activation::gelu, false},
      {"output", 256, 3072, 768, Numbers::f32, Activation::none, true},
  };
  for (const InstructionSet set : available_sets()) {
    if (set == InstructionSet::reference) continue;
    const Kernels& kernels = kernels_of(set);
    for (const LinearShape& shape : shapes) measure_linear(kernels, shape, seconds);
    measure_attention(kernels, 16, 32, seconds);
    measure_attention(kernels, 128, 32, seconds);
    measure_attention(kernels, 128, 64, seconds);
    measure_norm(kernels, 128, 384, seconds);
  }
  return 0;
}
