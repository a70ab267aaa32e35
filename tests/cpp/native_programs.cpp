#include "native_programs.hpp"

#include <stdlib.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>

namespace tests {
namespace {

namespace native = bert_export::native;

// Writes a program down, operation by operation.
class Writer {
 public:
  explicit Writer(const Choose& choose) : choose_(choose) {}

  // Numbers around 0, or around 1 for what scales.
  std::string floats(std::uint32_t rows, std::uint32_t columns, float middle, float spread) {
    std::vector<float> numbers;
    for (std::uint32_t i = 0; i < std::max(rows, 1U) * columns; ++i) {
      numbers.push_back(middle + spread * (static_cast<float>(next() % 2001) / 1000.0F - 1.0F));
    }
    return tensor("float32", rows, columns, numbers.data(), numbers.size() * sizeof(float));
  }
  std::string int8(std::uint32_t rows, std::uint32_t columns, int largest) {
    std::vector<std::int8_t> numbers;
    for (std::uint32_t i = 0; i < rows * columns; ++i) {
      numbers.push_back(static_cast<std::int8_t>(
          static_cast<int>(next() % static_cast<std::uint32_t>(2 * largest + 1)) - largest));
    }
    return tensor("int8", rows, columns, numbers.data(), numbers.size());
  }

  std::string value(const char* rows, std::uint32_t width, const std::string& dtype) {
    const std::string name = "v" + std::to_string(values_++);
    const bool bytes = dtype == "uint8";
    all_values_ += (all_values_.empty() ? "" : ",") + quoted(name) + ":{\"rows\":\"" + rows +
                   "\",\"width\":" + std::to_string(width) + ",\"dtype\":\"" + dtype +
                   "\",\"scale\":" + (bytes ? "0.03125" : "null") +
                   ",\"zero_point\":" + (bytes ? std::to_string(choose_(256)) : "null") + "}";
    return name;
  }

  void operation(const std::string& kind, const std::vector<std::string>& outputs,
                 const std::string& fields) {
    std::string names;
    for (const std::string& output : outputs) names += (names.empty() ? "" : ",") + quoted(output);
    operations_ += (operations_.empty() ? "" : ",") + std::string("{\"kind\":\"") + kind +
                   "\",\"outputs\":[" + names + "]," + fields + "}";
  }

  // A linear layer of x, which is of the type; gives the output.
  std::string linear(const std::string& x, const std::string& type, const char* rows,
                     std::uint32_t depth, std::uint32_t width, const std::string& out,
                     const std::string& activation, const std::string& residual) {
    const std::string y = value(rows, width, out);
    const bool bytes = type == "uint8";
    const bool transposed = choose_(2) == 1;
    const std::uint32_t first = transposed ? width : depth;
    const std::uint32_t second = transposed ? depth : width;
    const float spread = 1.0F / std::sqrt(static_cast<float>(depth));
    const int largest = choose_(2) == 1 ? 127 : 63;
    const std::string weight =
        bytes ? int8(first, second, largest) : floats(first, second, 0.0F, 2.0F * spread);
    operation("linear", {y},
              "\"x\":" + quoted(x) + ",\"weight\":" + quoted(weight) + ",\"weight_scale\":" +
                  (bytes ? quoted(floats(0, width, 0.02F * spread, 0.01F * spread)) : "null") +
                  ",\"transposed\":" + (transposed ? "true" : "false") + ",\"bias\":" +
                  (choose_(4) == 0 ? "null" : quoted(floats(0, width, 0.0F, 0.5F))) +
                  ",\"activation\":\"" + activation + "\",\"residual\":" +
                  (residual.empty() ? "null" : quoted(residual)));
    return y;
  }

  // `axes` are those of its rows in a padded batch.
  void output(const std::string& value_name, const char* axes, std::uint32_t width, bool column) {
    interface_outputs_.push_back(
        spec("out" + std::to_string(values_), "float32",
             axes + (column ? std::string() : "," + std::to_string(width))));
    outputs_ += (outputs_.empty() ? "" : ",") + std::string("{\"name\":\"out") +
                std::to_string(values_) + "\",\"value\":" + quoted(value_name) +
                ",\"column\":" + (column ? "0" : "null") + "}";
    ++values_;
  }

  static std::string quoted(const std::string& text) { return "\"" + text + "\""; }

  static constexpr const char* tokens_axes = R"("batch","sequence")";
  static constexpr const char* texts_axes = R"("batch")";
  static constexpr const char* masks_axes = R"("masked")";

  DrawnProgram finish(std::uint32_t words, std::uint32_t positions, bool masks, bool pooled,
                      std::uint32_t caches, std::uint32_t heads, std::uint32_t head_size) {
    std::string all_caches;
    std::vector<std::string> interface_inputs{
        spec("input_ids", "int64", tokens_axes), spec("token_type_ids", "int64", tokens_axes),
        spec("attention_mask", "int64", caches > 0 ? R"("batch","total")" : tokens_axes)};
    if (masks) interface_inputs.push_back(spec("masked_positions", "int64", masks_axes));
    if (pooled) interface_inputs.push_back(spec("pooling_mask", "int64", tokens_axes));
    const auto kept = [&](const std::string& name, const char* tokens) {
      return spec(name, "float32", "\"batch\"," + std::to_string(heads) + "," + quoted(tokens) + "," +
                                       std::to_string(head_size));
    };
    for (std::uint32_t cache = 0; cache < caches; ++cache) {
      for (const char* const part : {"key", "value"}) {
        const std::string name = part + std::to_string(cache);
        interface_inputs.push_back(kept("past_" + name, "past"));
        interface_outputs_.push_back(kept("present_" + name, "total"));
      }
    }
    for (std::uint32_t cache = 0; cache < caches; ++cache) {
      const auto field = [&](const char* name) {
        return quoted(name) + ":" + quoted(name + std::to_string(cache));
      };
      all_caches += (cache == 0 ? ",\"caches\":[{" : ",{") + field("past_key") + "," +
                    field("past_value") + "," + field("present_key") + "," + field("present_value") +
                    "}" + (cache + 1 == caches ? "]" : "");
    }
    std::string inputs = R"("input_ids","token_type_ids")";
    if (masks) inputs += R"(,"masked_positions")";
    if (pooled) inputs += R"(,"pooling_mask")";
    return {"{\"schema\":" + std::string(caches > 0 ? "2" : "1") + all_caches + ",\"weights\":\"weights.data\",\"interface\":{\"inputs\":[" + joined(interface_inputs) +
                "],\"outputs\":[" + joined(interface_outputs_) + "]},\"inputs\":[" + inputs +
                "],\"tensors\":{" + tensors_ + "},\"values\":{" + all_values_ +
                "},\"operations\":[" + operations_ + "],\"outputs\":[" + outputs_ + "]}",
            weights_, words, positions, masks, pooled, caches > 0};
  }

 private:
  // Weights need no choices of their own.
  std::uint32_t next() {
    state_ = state_ * 1664525U + 1013904223U;
    return state_ >> 8U;
  }

  std::string tensor(const char* dtype, std::uint32_t rows, std::uint32_t columns, const void* data,
                     std::size_t bytes) {
    weights_.resize((weights_.size() + 63) / 64 * 64);
    const std::string name = "t" + std::to_string(tensors_count_++);
    const std::string shape =
        (rows == 0 ? "" : std::to_string(rows) + ",") + std::to_string(columns);
    tensors_ += (tensors_.empty() ? "" : ",") + quoted(name) + ":{\"dtype\":\"" + dtype +
                "\",\"shape\":[" + shape + "],\"offset\":" + std::to_string(weights_.size()) + "}";
    weights_.append(static_cast<const char*>(data), bytes);
    return name;
  }

  static std::string spec(const std::string& name, const char* dtype, const std::string& axes) {
    return "{\"name\":" + quoted(name) + ",\"dtype\":" + quoted(dtype) + ",\"shape\":[" + axes + "]}";
  }
  static std::string joined(const std::vector<std::string>& parts) {
    std::string all;
    for (const std::string& part : parts) all += (all.empty() ? "" : ",") + part;
    return all;
  }

  const Choose& choose_;
  std::vector<std::string> interface_outputs_;
  std::uint32_t state_ = 26;
  std::size_t values_ = 0;
  std::size_t tensors_count_ = 0;
  std::string weights_, tensors_, all_values_, operations_, outputs_;
};

}  // namespace

DrawnProgram draw_program(const Choose& choose, std::uint32_t most_width, std::uint32_t most_heads,
                          std::uint32_t positions) {
  Writer writer(choose);
  const std::uint32_t heads = 1 + choose(most_heads);
  const std::uint32_t width = heads * (1 + choose(std::max(most_width / heads, 1U)));
  const std::uint32_t inner = 1 + choose(2 * most_width);
  const std::uint32_t words = 20;
  const char* const kinds[] = {"uint8", "bfloat16", "float32"};
  const std::string kind = kinds[choose(3)];
  const std::string half = kind == "float32" || choose(4) == 0 ? "float32" : "bfloat16";
  const char* const activations[] = {"gelu", "gelu_tanh", "relu", "tanh", "sigmoid", "silu", "none"};

  // Values for the residual and for products, which are one where both are float32.
  const auto twice = [&](std::string& floats, std::string& operand) {
    std::vector<std::string> outputs{floats = writer.value("tokens", width, "float32")};
    operand = floats;
    if (kind != "float32") outputs.push_back(operand = writer.value("tokens", width, kind));
    return outputs;
  };
  const auto norm_fields = [&] {
    return "\"gamma\":" + Writer::quoted(writer.floats(0, width, 1.0F, 0.3F)) +
           ",\"beta\":" + Writer::quoted(writer.floats(0, width, 0.0F, 0.3F)) + ",\"epsilon\":1e-12";
  };
  std::string x;
  std::string q;
  const bool int8_words = choose(2) == 1;
  auto outputs = twice(x, q);
  writer.operation(
      "embed", outputs,
      "\"word\":" +
          Writer::quoted(int8_words ? writer.int8(words, width, 127)
                                    : writer.floats(words, width, 0.0F, 1.0F)) +
          ",\"word_scale\":" +
          (int8_words ? Writer::quoted(writer.floats(0, words, 0.01F, 0.005F)) : "null") +
          ",\"token_type\":" + Writer::quoted(writer.floats(2, width, 0.0F, 1.0F)) +
          ",\"position\":" + Writer::quoted(writer.floats(positions, width, 0.0F, 1.0F)) + "," +
          norm_fields());

  const std::uint32_t layers = 1 + choose(2);
  const bool cached = choose(3) == 0;
  for (std::uint32_t layer = 0; layer < layers; ++layer) {
    std::string parts[3];
    for (std::string& part : parts) {
      part = writer.linear(q, kind, "tokens", width, width, half, "none", "");
    }
    const std::string context = writer.value("tokens", width, kind);
    writer.operation("attention", {context},
                     "\"query\":" + Writer::quoted(parts[0]) + ",\"key\":" +
                         Writer::quoted(parts[1]) + ",\"value\":" + Writer::quoted(parts[2]) +
                         ",\"heads\":" + std::to_string(heads) + ",\"scale\":0.25,\"causal\":" +
                         (cached || choose(3) == 0 ? "true" : "false") +
                         (cached ? ",\"cache\":" + std::to_string(layer) : ""));
    const std::string sum =
        writer.linear(context, kind, "tokens", width, width, "float32", "none", x);
    outputs = twice(x, q);
    writer.operation("norm", outputs, "\"x\":" + Writer::quoted(sum) + "," + norm_fields());
    if (kind == "uint8" && choose(2) == 1) {
      // Smoothed: a factor per channel before the bytes.
      q = writer.value("tokens", width, "uint8");
      writer.operation("quantize", {q},
                       "\"x\":" + Writer::quoted(x) + ",\"add\":null,\"multiply\":" +
                           Writer::quoted(writer.floats(0, width, 1.0F, 0.5F)));
    }
    const std::string middle =
        writer.linear(q, kind, "tokens", width, inner, kind, activations[choose(7)], "");
    const std::string end =
        writer.linear(middle, kind, "tokens", inner, width, "float32", "none", x);
    outputs = twice(x, q);
    writer.operation("norm", outputs, "\"x\":" + Writer::quoted(end) + "," + norm_fields());
  }

  bool masks = false;
  bool pooled = false;
  const std::uint32_t classes = 1 + choose(9);
  switch (choose(cached ? 2 : 4)) {
    case 0: {
      const std::string logits =
          writer.linear(x, "float32", "tokens", width, classes, "float32", "none", "");
      writer.output(logits, Writer::tokens_axes, classes, false);
      writer.output(logits, Writer::tokens_axes, classes, true);
      break;
    }
    case 1: {
      const char* const places[] = {"first", "last", "first_pooled", "last_pooled"};
      const std::string place = cached ? "last" : places[choose(4)];
      pooled = place.find("pooled") != place.npos;
      const std::string row = writer.value("texts", width, "float32");
      writer.operation("gather", {row}, "\"x\":" + Writer::quoted(x) + ",\"index\":\"" + place + "\"");
      const std::string pooler =
          writer.linear(row, "float32", "texts", width, width, "float32", "tanh", "");
      writer.output(writer.linear(pooler, "float32", "texts", width, classes, "float32", "none", ""),
                    Writer::texts_axes, classes, false);
      break;
    }
    case 2: {
      masks = true;
      const std::string rows = writer.value("masks", width, "float32");
      writer.operation("gather", {rows},
                       "\"x\":" + Writer::quoted(x) + ",\"index\":\"masked_positions\"");
      writer.output(writer.linear(rows, "float32", "masks", width, classes, "float32", "none", ""),
                    Writer::masks_axes, classes, false);
      break;
    }
    default: {
      const char* const modes[] = {"mean", "mean_sqrt_len", "weightedmean", "max"};
      pooled = choose(2) == 1;
      std::string both[2];
      for (std::string& one : both) {
        one = writer.value("texts", width, "float32");
        writer.operation("pool", {one},
                         "\"x\":" + Writer::quoted(x) + ",\"mode\":\"" + modes[choose(4)] +
                             "\",\"mask\":" + (pooled ? "\"pooling_mask\"" : "null"));
      }
      const std::string joined = writer.value("texts", 2 * width, "float32");
      writer.operation("concat", {joined},
                       "\"x\":[" + Writer::quoted(both[0]) + "," + Writer::quoted(both[1]) + "]");
      const std::string unit = writer.value("texts", 2 * width, "float32");
      writer.operation("normalize", {unit}, "\"x\":" + Writer::quoted(joined) + ",\"epsilon\":1e-12");
      writer.output(unit, Writer::texts_axes, 2 * width, false);
    }
  }
  return writer.finish(words, positions, masks, pooled, cached ? layers : 0, heads, width / heads);
}

native::Batch DrawnBatch::view() const {
  native::Batch batch;
  batch.input_ids = ids.data();
  batch.token_type_ids = types.data();
  batch.tokens = ids.size();
  batch.lengths = lengths.data();
  batch.texts = lengths.size();
  batch.masks = masks.size();
  batch.masked_positions = masks.empty() ? nullptr : masks.data();
  batch.pooling_mask = pooled.empty() ? nullptr : pooled.data();
  return batch;
}

DrawnBatch DrawnBatch::text(std::size_t index) const {
  std::int64_t first = 0;
  for (std::size_t text = 0; text < index; ++text) first += lengths[text];
  const std::int64_t last = first + lengths[index];
  const auto part = [&](const std::vector<std::int64_t>& all) {
    return all.empty() ? all
                       : std::vector<std::int64_t>(all.begin() + first, all.begin() + last);
  };
  DrawnBatch own{part(ids), part(types), {lengths[index]}, {}, part(pooled)};
  for (const std::int64_t mask : masks) {
    if (mask >= first && mask < last) own.masks.push_back(mask - first);
  }
  return own;
}

DrawnBatch DrawnBatch::part(std::size_t first, std::size_t last, std::size_t of) const {
  DrawnBatch own;
  std::int64_t start = 0;
  for (const std::int64_t length : lengths) {
    const auto share = [&](std::size_t number) {
      return start + length * static_cast<std::int64_t>(number) / static_cast<std::int64_t>(of);
    };
    own.lengths.push_back(share(last) - share(first));
    for (std::int64_t token = share(first); token < share(last); ++token) {
      own.ids.push_back(ids[static_cast<std::size_t>(token)]);
      own.types.push_back(types[static_cast<std::size_t>(token)]);
    }
    start += length;
  }
  return own;
}

DrawnBatch draw_batch(const DrawnProgram& program, const Choose& choose, std::uint32_t most_texts,
                      std::uint32_t longest) {
  DrawnBatch batch;
  const std::uint32_t texts = 1 + choose(most_texts);
  for (std::uint32_t text = 0; text < texts; ++text) {
    const std::uint32_t length = 1 + choose(std::min(longest, program.positions));
    batch.lengths.push_back(length);
    const std::uint32_t sure = choose(length);
    for (std::uint32_t token = 0; token < length; ++token) {
      batch.ids.push_back(choose(program.words));
      batch.types.push_back(choose(2));
      if (program.pooling_mask) batch.pooled.push_back(token == sure ? 1 : choose(2));
      if (program.masked_positions && (token == sure || choose(5) == 0)) {
        batch.masks.push_back(static_cast<std::int64_t>(batch.ids.size()) - 1);
      }
    }
  }
  if (batch.masks.size() > 1 && choose(2) == 1) std::swap(batch.masks.front(), batch.masks.back());
  return batch;
}

ProgramFiles::ProgramFiles(const std::string& json, const std::string& weights) {
  std::string pattern = (std::filesystem::temp_directory_path() / "bert-export-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary folder");
  folder_ = pattern;
  std::ofstream(folder_ + "/native.json", std::ios::binary) << json;
  std::ofstream(folder_ + "/weights.data", std::ios::binary) << weights;
}

ProgramFiles::~ProgramFiles() { std::filesystem::remove_all(folder_); }

std::unique_ptr<native::Program> ProgramFiles::open(const std::string& isa,
                                                    std::size_t threads) const {
  return native::Program::open(folder_ + "/native.json", folder_ + "/weights.data", {threads, isa});
}

float furthest(const std::vector<native::Result>& wanted, const std::vector<native::Result>& got) {
  float most = 0.0F;
  for (std::size_t index = 0; index < wanted.size(); ++index) {
    float largest = 1.0F;
    float away = 0.0F;
    const auto& a = wanted[index].numbers;
    const auto& b = got[index].numbers;
    if (a.size() != b.size()) return INFINITY;
    for (std::size_t place = 0; place < a.size(); ++place) {
      if (std::isnan(a[place]) && std::isnan(b[place])) continue;
      largest = std::max(largest, std::fabs(a[place]));
      const float own = std::fabs(a[place] - b[place]);
      if (!(own <= away)) away = own;
    }
    most = std::max(most, away / largest);
  }
  return most;
}

}  // namespace tests
