// Every set of kernels that this machine runs, against the reference and the reference against sums
// that are written out.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <random>

#include "bert_export/errors.hpp"
#include "check.hpp"
#include "native/bf16.hpp"
#include "native/kernels.hpp"
#include "native/memory.hpp"
#include "native/packing.hpp"

using namespace bert_export::native;  // NOLINT

namespace {

std::mt19937& random_bits() {
  static std::mt19937 engine(26);
  return engine;
}

int any_whole(int least, int most) {
  return std::uniform_int_distribution<int>(least, most)(random_bits());
}

float any_float(float spread) {
  return std::normal_distribution<float>(0.0F, spread)(random_bits());
}

// A matrix as kernels want it: padded, with slack behind it, and rubbish in both.
template <typename Number>
struct Matrix {
  std::size_t rows, width, stride;
  Memory memory;

  Matrix(std::size_t row_count, std::size_t column_count)
      : rows(row_count),
        width(column_count),
        stride(rounded_up(column_count, width_multiple)),
        memory((row_count + row_slack) * stride * sizeof(Number)) {}

  Number* data() { return static_cast<Number*>(memory.data()); }
  Number& at(std::size_t row, std::size_t column) { return data()[row * stride + column]; }
  template <typename Make>
  void fill(Make make) {
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t column = 0; column < width; ++column) at(row, column) = make();
    }
  }
};

float as_float(float number) { return number; }
float as_float(std::uint16_t number) { return from_bf16(number); }
float as_float(std::uint8_t number) { return number; }

// Values, and among them those that differ by more than a bound.
struct Compared {
  std::size_t values = 0;
  std::size_t apart = 0;
  float furthest = 0.0F;
};

template <typename Number>
void compare(Matrix<Number>& wanted, Matrix<Number>& got, float bound, Compared& compared) {
  for (std::size_t row = 0; row < wanted.rows; ++row) {
    for (std::size_t column = 0; column < wanted.width; ++column) {
      const float away = std::fabs(as_float(wanted.at(row, column)) - as_float(got.at(row, column)));
      ++compared.values;
      if (!(away <= bound)) ++compared.apart;
      if (!(away <= compared.furthest)) compared.furthest = away;
    }
  }
}

// A linear layer with numbers that were drawn, and what holds them.
struct DrawnLinear {
  Linear linear;
  std::vector<std::int8_t> int8;
  std::vector<float> floats;
  Memory packed;
  std::vector<std::int32_t> correction;
  std::vector<float> scale, bias;

  DrawnLinear(Numbers input, Numbers output, Activation activation, std::size_t depth,
              std::size_t width, int largest)
      : packed(packed_bytes(input, depth, width)) {
    const std::size_t padded = rounded_up(width, width_multiple);
    correction.assign(padded, 0);
    scale.assign(padded, 0.0F);
    bias.assign(padded, 0.0F);
    linear.input = input;
    linear.output = output;
    linear.activation = activation;
    linear.depth = depth;
    linear.width = width;
    const float spread = 1.0F / std::sqrt(static_cast<float>(depth));
    if (input == Numbers::u8) {
      for (std::size_t i = 0; i < depth * width; ++i) {
        int8.push_back(static_cast<std::int8_t>(any_whole(-largest, largest)));
      }
      linear.narrow = pack_int8(int8.data(), {depth, width},
                                static_cast<std::int8_t*>(packed.data()), correction.data());
      for (std::int32_t& sum : correction) sum *= -any_whole(0, 255);
    } else {
      for (std::size_t i = 0; i < depth * width; ++i) floats.push_back(any_float(spread));
      if (input == Numbers::bf16) {
        pack_bf16(floats.data(), {depth, width}, static_cast<std::uint16_t*>(packed.data()));
      } else {
        pack_floats(floats.data(), {depth, width}, static_cast<float*>(packed.data()));
      }
    }
    for (std::size_t column = 0; column < width; ++column) {
      scale[column] = spread / static_cast<float>(100 * largest + 1);
      bias[column] = any_float(1.0F);
    }
    linear.weights = packed.data();
    linear.correction = correction.data();
    linear.scale = scale.data();
    linear.bias = bias.data();
    linear.quantizer = {17.3F, any_whole(0, 255)};
  }
};

template <typename Input, typename Output>
void compare_linear(DrawnLinear& drawn, std::size_t rows, bool with_residual, float bound,
                    std::vector<Compared>& compared) {
  const Linear& linear = drawn.linear;
  Matrix<Input> input(rows, linear.depth);
  input.fill([] {
    if constexpr (sizeof(Input) == 1) return static_cast<Input>(any_whole(0, 255));
    if constexpr (sizeof(Input) == 2) return static_cast<Input>(to_bf16(any_float(1.0F)));
    if constexpr (sizeof(Input) == 4) return static_cast<Input>(any_float(1.0F));
  });
  Matrix<float> residual(rows, linear.width);
  residual.fill([] { return any_float(1.0F); });
  const auto run = [&](InstructionSet set, Matrix<Output>& output, bool in_parts) {
    const std::size_t columns = rounded_up(linear.width, width_multiple);
    LinearCall call;
    call.input = input.data();
    call.input_stride = input.stride;
    call.rows = rows;
    call.residual = with_residual ? residual.data() : nullptr;
    call.residual_stride = residual.stride;
    call.output = output.data();
    call.output_stride = output.stride;
    const std::size_t part = in_parts ? width_multiple : columns;
    for (std::size_t first = 0; first < columns; first += part) {
      call.first_column = first;
      call.last_column = first + part;
      kernels_of(set).linear(linear, call);
    }
  };
  Matrix<Output> wanted(rows, linear.width);
  run(InstructionSet::reference, wanted, false);
  compared.resize(available_sets().size());
  for (std::size_t index = 1; index < available_sets().size(); ++index) {
    Matrix<Output> got(rows, linear.width);
    run(available_sets()[index], got, any_whole(0, 1) == 1);
    compare(wanted, got, bound, compared[index]);
  }
}

std::size_t any_width() {
  const std::size_t some[] = {1, 15, 16, 17, 63, 64, 65, 100, 128, 130, 192};
  return some[any_whole(0, 10)];
}

}  // namespace

TEST(integer_sums_are_the_same_in_every_set) {
  // With scale 1 and no bias the output is the sum itself.
  for (int round = 0; round < 30; ++round) {
    DrawnLinear drawn(Numbers::u8, Numbers::f32, Activation::none, any_width(), any_width(),
                      round % 3 == 0 ? 63 : 127);
    if (round == 1) std::fill(drawn.int8.begin(), drawn.int8.end(), std::int8_t{-128});
    std::fill(drawn.scale.begin(), drawn.scale.end(), 1.0F);
    std::fill(drawn.bias.begin(), drawn.bias.end(), 0.0F);
    std::vector<Compared> compared;
    compare_linear<std::uint8_t, float>(drawn, static_cast<std::size_t>(any_whole(1, 70)), false,
                                        0.0F, compared);
    for (const Compared& one : compared) CHECK_EQUAL(one.apart, std::size_t{0});
  }
}

TEST(the_reference_multiplies_what_stands_in_the_weights) {
  DrawnLinear drawn(Numbers::u8, Numbers::f32, Activation::none, 70, 33, 127);
  Matrix<std::uint8_t> input(3, 70);
  input.fill([] { return static_cast<std::uint8_t>(any_whole(0, 255)); });
  Matrix<float> output(3, 33);
  LinearCall call;
  call.input = input.data();
  call.input_stride = input.stride;
  call.rows = 3;
  call.last_column = 64;
  call.output = output.data();
  call.output_stride = output.stride;
  kernels_of(InstructionSet::reference).linear(drawn.linear, call);
  for (std::size_t row = 0; row < 3; ++row) {
    for (std::size_t column = 0; column < 33; ++column) {
      int sum = drawn.correction[column];
      for (std::size_t place = 0; place < 70; ++place) {
        sum += input.at(row, place) * drawn.int8[place * 33 + column];
      }
      const float wanted =
          std::fma(static_cast<float>(sum), drawn.scale[column], drawn.bias[column]);
      CHECK_EQUAL(output.at(row, column), wanted);
    }
  }
}

TEST(linear_layers_agree_with_the_reference) {
  const Activation activations[] = {Activation::none,  Activation::gelu, Activation::gelu_tanh,
                                    Activation::relu,  Activation::tanh, Activation::sigmoid,
                                    Activation::silu};
  std::vector<Compared> bytes;
  std::vector<Compared> halves;
  std::vector<Compared> floats;
  for (int round = 0; round < 42; ++round) {
    const Activation activation = activations[round % 7];
    const auto rows = static_cast<std::size_t>(any_whole(1, 70));
    const std::size_t depth = any_width();
    const std::size_t width = any_width();
    const int largest = round % 2 == 0 ? 127 : 63;
    DrawnLinear to_bytes(Numbers::u8, Numbers::u8, activation, depth, width, largest);
    compare_linear<std::uint8_t, std::uint8_t>(to_bytes, rows, false, 0.0F, bytes);
    DrawnLinear to_halves(Numbers::u8, Numbers::bf16, activation, depth, width, largest);
    compare_linear<std::uint8_t, std::uint16_t>(to_halves, rows, false, 0.0F, halves);
    DrawnLinear of_halves(Numbers::bf16, Numbers::f32, activation, depth, width, largest);
    compare_linear<std::uint16_t, float>(of_halves, rows, round % 2 == 0, 1e-5F, floats);
    DrawnLinear of_floats(Numbers::f32, Numbers::f32, activation, depth, width, largest);
    compare_linear<float, float>(of_floats, rows, round % 2 == 1, 1e-5F, floats);
  }
  for (std::size_t index = 1; index < bytes.size(); ++index) {
    CHECK(bytes[index].apart * 2000 <= bytes[index].values);
    CHECK(bytes[index].furthest <= 1.0F);
    CHECK(halves[index].apart * 500 <= halves[index].values);
    CHECK_EQUAL(floats[index].apart, std::size_t{0});
  }
}

TEST(norms_agree_with_the_reference) {
  Compared floats;
  Compared bytes;
  for (int round = 0; round < 20; ++round) {
    const std::size_t width = round == 0 ? 1 : any_width();
    const auto rows = static_cast<std::size_t>(any_whole(1, 70));
    const std::size_t padded = rounded_up(width, width_multiple);
    Matrix<float> input(rows, width);
    input.fill([] { return 3.0F + any_float(2.0F); });
    std::vector<float> gain(padded), bias(padded), shift(padded), factor(padded);
    for (std::size_t column = 0; column < width; ++column) {
      gain[column] = any_float(1.0F);
      bias[column] = any_float(1.0F);
      shift[column] = any_float(0.1F);
      factor[column] = 20.0F + any_float(3.0F);
    }
    const Norm norm{1e-12F, gain.data(), bias.data()};
    const auto run = [&](InstructionSet set, Matrix<float>& y, Matrix<std::uint16_t>& half,
                         Matrix<std::uint8_t>& q) {
      NormCall call{input.data(), input.stride, rows, width, round % 5 == 4 ? nullptr : &norm, {}};
      call.outputs = {y.data(), y.stride, half.data(),  half.stride,   q.data(),
                      q.stride, shift.data(), factor.data(), 100 + round};
      kernels_of(set).norm(call);
    };
    Matrix<float> wanted(rows, width);
    Matrix<std::uint16_t> wanted_half(rows, width);
    Matrix<std::uint8_t> wanted_q(rows, width);
    run(InstructionSet::reference, wanted, wanted_half, wanted_q);
    for (const InstructionSet set : available_sets()) {
      Matrix<float> got(rows, width);
      Matrix<std::uint16_t> got_half(rows, width);
      Matrix<std::uint8_t> got_q(rows, width);
      run(set, got, got_half, got_q);
      compare(wanted, got, 1e-5F, floats);
      compare(wanted_half, got_half, 0.05F, floats);
      compare(wanted_q, got_q, 0.0F, bytes);
    }
  }
  CHECK_EQUAL(floats.apart, std::size_t{0});
  CHECK(bytes.apart * 2000 <= bytes.values);
}

namespace {

template <typename Input, typename Output>
void compare_attention(Numbers input, Numbers output, std::size_t size, std::size_t length,
                       bool causal, float bound, Compared& compared) {
  const auto heads = static_cast<std::size_t>(any_whole(1, 3));
  // Of all tokens, or of the last ones behind those of earlier calls.
  const std::size_t last = std::min<std::size_t>(length, static_cast<std::size_t>(any_whole(1, 5)));
  const std::size_t queries_count = any_whole(0, 2) == 0 ? last : length;
  Matrix<Input> queries(queries_count, heads * size);
  Matrix<Input> keys(length, heads * size);
  Matrix<Input> values(length, heads * size);
  for (Matrix<Input>* const matrix : {&queries, &keys, &values}) {
    matrix->fill([] {
      if constexpr (sizeof(Input) == 2) return static_cast<Input>(to_bf16(any_float(1.0F)));
      if constexpr (sizeof(Input) == 4) return static_cast<Input>(any_float(1.0F));
    });
  }
  Memory scratch(attention_scratch(length, size));
  const Attention attention{input, output, size, 1.0F / std::sqrt(static_cast<float>(size)), causal,
                            {60.0F, 120}};
  const auto run = [&](InstructionSet set, Matrix<Output>& result) {
    for (std::size_t head = 0; head < heads; ++head) {
      AttentionCall call;
      call.queries = &queries.at(0, head * size);
      call.keys = &keys.at(0, head * size);
      call.values = &values.at(0, head * size);
      call.queries_stride = queries.stride;
      call.keys_stride = keys.stride;
      call.values_stride = values.stride;
      call.query_count = queries_count;
      call.length = length;
      call.past = length - queries_count;
      call.output = &result.at(0, head * size);
      call.output_stride = result.stride;
      call.scratch = scratch.data();
      kernels_of(set).attention(attention, call);
    }
  };
  Matrix<Output> wanted(queries_count, heads * size);
  run(InstructionSet::reference, wanted);
  for (const InstructionSet set : available_sets()) {
    Matrix<Output> got(queries_count, heads * size);
    run(set, got);
    compare(wanted, got, bound, compared);
  }
}

}  // namespace

TEST(attention_agrees_with_the_reference) {
  Compared bytes;
  Compared halves;
  Compared floats;
  for (int round = 0; round < 24; ++round) {
    const std::size_t sizes[] = {1, 8, 16, 24, 32, 40, 64, 80};
    const std::size_t lengths[] = {1, 2, 15, 16, 17, 31, 32, 33, 50, 64, 65, 100};
    const std::size_t size = sizes[round % 8];
    const std::size_t length = lengths[round % 12];
    const bool causal = any_whole(0, 2) == 0;
    compare_attention<std::uint16_t, std::uint8_t>(Numbers::bf16, Numbers::u8, size, length, causal,
                                                   0.0F, bytes);
    compare_attention<std::uint16_t, float>(Numbers::bf16, Numbers::f32, size, length, causal, 1e-3F,
                                            halves);
    compare_attention<float, float>(Numbers::f32, Numbers::f32, size, length, causal, 1e-5F, floats);
  }
  compare_attention<std::uint16_t, std::uint8_t>(Numbers::bf16, Numbers::u8, 32, 512, false, 0.0F,
                                                 bytes);
  CHECK(bytes.apart * 1000 <= bytes.values);
  CHECK(bytes.furthest <= 1.0F);
  // A numerator that is rounded the other way moves its value by 1/256.
  CHECK(halves.apart * 1000 <= halves.values);
  CHECK(halves.furthest <= 0.02F);
  CHECK_EQUAL(floats.apart, std::size_t{0});
}

TEST(embeddings_agree_with_the_reference) {
  for (const std::size_t width : {1U, 60U, 64U, 100U}) {
    std::vector<std::int8_t> words(50 * width);
    std::vector<float> scales(50), types(2 * width), positions(40 * width);
    for (std::int8_t& number : words) number = static_cast<std::int8_t>(any_whole(-127, 127));
    for (std::vector<float>* const floats : {&scales, &types, &positions}) {
      for (float& number : *floats) number = any_float(0.1F);
    }
    const Table tables[] = {{Numbers::u8, words.data(), scales.data()},
                            {Numbers::f32, types.data(), nullptr},
                            {Numbers::f32, positions.data(), nullptr}};
    std::vector<std::int64_t> ids(37), kinds(37), places(37);
    for (std::size_t row = 0; row < 37; ++row) {
      ids[row] = any_whole(0, 49);
      kinds[row] = any_whole(0, 1);
      places[row] = any_whole(0, 39);
    }
    const std::int64_t* const numbers[] = {ids.data(), kinds.data(), places.data()};
    Matrix<float> wanted(37, width);
    kernels_of(InstructionSet::reference)
        .embed({tables, numbers, 37, width, wanted.data(), wanted.stride});
    for (const InstructionSet set : available_sets()) {
      Matrix<float> got(37, width);
      kernels_of(set).embed({tables, numbers, 37, width, got.data(), got.stride});
      Compared compared;
      compare(wanted, got, 0.0F, compared);
      CHECK_EQUAL(compared.apart, std::size_t{0});
    }
  }
}

TEST(the_instruction_set_is_the_one_that_is_asked_for) {
  const char* const before = std::getenv("BERT_EXPORT_ISA");
  const std::string kept = before == nullptr ? "" : before;
  ::setenv("BERT_EXPORT_ISA", "reference", 1);
  CHECK(chosen_set() == InstructionSet::reference);
  ::setenv("BERT_EXPORT_ISA", "", 1);
  CHECK(chosen_set() == available_sets().back());
  ::setenv("BERT_EXPORT_ISA", "sse9", 1);
  CHECK_EQUAL(tests::message_of<bert_export::InputError>([] { chosen_set(); }),
              "BERT_EXPORT_ISA names no instruction set: expected one of amx, avx512_vnni, avx_vnni, "
              "avx2, reference, got 'sse9'.");
  ::setenv("BERT_EXPORT_ISA", kept.c_str(), 1);
}
