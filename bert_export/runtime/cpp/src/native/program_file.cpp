#include "native/program_file.hpp"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <map>
#include <string_view>
#include <utility>

#include "bert_export/errors.hpp"
#include "bundle/files.hpp"
#include "text/json.hpp"
#include "text/printing.hpp"

namespace bert_export::native {
namespace {

using text::Json;

// A program with caches is of the second schema, and no other is.
constexpr std::int64_t newest_schema = 2;
constexpr std::int64_t widest = 65535;
constexpr std::uint64_t tensor_alignment = 64;
// Of a scale of bytes: it and its inverse have all digits of a float32.
constexpr double least_scale = std::numeric_limits<float>::min();
constexpr double most_scale = 1.0 / least_scale;

// What is wrong with a program, without its name.
struct Illegal {
  std::string expected;
  std::string got;
};

[[noreturn]] void refuse(std::string expected, std::string got) {
  throw Illegal{std::move(expected), std::move(got)};
}

// A field that an object may have and one that has it not.
void add_if_there(const Json& json, std::string_view field, std::vector<std::string_view>& fields) {
  if (json.find(field) != nullptr) fields.push_back(field);
}

// The members of an object are these and no others.
void check_fields(const Json& json, const std::string& of,
                  const std::vector<std::string_view>& fields) {
  for (const auto& [key, value] : json.object(of)) {
    bool known = false;
    for (const std::string_view field : fields) known = known || field == key;
    if (!known) refuse("fields of its schema in " + of, "field " + text::shown(key));
  }
  for (const std::string_view field : fields) json.at(field);
}

template <typename Choice>
using Names = std::initializer_list<std::pair<std::string_view, Choice>>;

// The choice that a string names.
template <typename Choice>
Choice chosen(const Json& json, const std::string& of, const Names<Choice>& names) {
  const std::string& given = json.string(of);
  std::string known;
  for (const auto& [name, choice] : names) {
    if (name == given) return choice;
    known += (known.empty() ? "" : ", ") + std::string(name);
  }
  refuse(of + " that is one of " + known, text::shown(given));
}

std::int64_t whole(const Json& json, const std::string& of, std::int64_t least, std::int64_t most) {
  const std::int64_t number = json.integer(of);
  if (number < least || number > most) {
    refuse(of + " from " + std::to_string(least) + " to " + std::to_string(most),
           std::to_string(number));
  }
  return number;
}

// A finite float32 above 0.
float positive(const Json& json, const std::string& of) {
  const auto number = static_cast<float>(json.number(of));
  if (!std::isfinite(number) || !(number > 0.0F)) {
    refuse(of + " that is finite and above 0", text::shown(json.number(of)));
  }
  return number;
}

class Reader {
 public:
  ProgramFile read(const Json& json, std::uint64_t weights_bytes) {
    std::vector<std::string_view> fields{"schema", "weights",    "interface", "inputs",
                                         "tensors", "values", "operations", "outputs"};
    add_if_there(json, "caches", fields);
    check_fields(json, "the program", fields);
    const std::int64_t schema = json.at("schema").integer("schema");
    if (schema < 1 || schema > newest_schema) refuse("schema 1 or 2", std::to_string(schema));
    read_caches(json.find("caches"), schema);
    if (json.at("weights").string("weights") != bundle::weights_file) {
      refuse(std::string("weights ") + bundle::weights_file,
             text::shown(json.at("weights").string("weights")));
    }
    read_inputs(json.at("inputs"));
    for (const auto& [name, tensor] : json.at("tensors").object("tensors")) {
      read_tensor(name, tensor, weights_bytes);
    }
    for (const auto& [name, value] : json.at("values").object("values")) read_value(name, value);
    written_.assign(program_.values.size(), false);
    for (const Json& operation : json.at("operations").array("operations")) {
      of_ = "operation " + std::to_string(program_.operations.size());
      read_operation(operation);
    }
    for (std::size_t value = 0; value < written_.size(); ++value) {
      if (!written_[value]) {
        refuse("an operation that writes value " + text::shown(program_.values[value].name),
               "none");
      }
    }
    for (std::size_t cache = 0; cache < program_.caches.size(); ++cache) {
      if (program_.caches[cache].heads != 0) continue;
      refuse("an attention that has cache " + std::to_string(cache), "none");
    }
    for (const Json& output : json.at("outputs").array("outputs")) read_output(output);
    if (program_.outputs.empty()) refuse("at least one output", "none");
    check_inputs_are_used();
    read_interface(json.at("interface"));
    return std::move(program_);
  }

 private:
  // What keeps them is read with the attentions.
  void read_caches(const Json* json, std::int64_t schema) {
    std::vector<std::string> names;
    if (json != nullptr) {
      for (const Json& cache : json->array("caches")) {
        const std::string of = "cache " + std::to_string(program_.caches.size());
        check_fields(cache, of, {"past_key", "past_value", "present_key", "present_value"});
        CacheRecord own;
        for (const auto& [field, name] : {std::pair("past_key", &own.past_key),
                                          std::pair("past_value", &own.past_value),
                                          std::pair("present_key", &own.present_key),
                                          std::pair("present_value", &own.present_value)}) {
          *name = cache.at(field).string(of + "'s " + field);
          for (const std::string& other : names) {
            if (other == *name) refuse("one " + text::shown(*name) + " of the caches", "two");
          }
          names.push_back(*name);
        }
        program_.caches.push_back(std::move(own));
      }
    }
    if ((schema == 1) != program_.caches.empty()) {
      refuse("caches in schema 2 and in no other",
             std::to_string(program_.caches.size()) + " in schema " + std::to_string(schema));
    }
  }

  void read_inputs(const Json& json) {
    std::vector<std::string> names;
    for (const Json& name : json.array("inputs")) names.push_back(name.string("an input"));
    std::vector<std::string> wanted{"input_ids", "token_type_ids"};
    for (const auto& [name, given] : {std::pair("masked_positions", &program_.masked_positions),
                                      std::pair("pooling_mask", &program_.pooling_mask)}) {
      for (const std::string& own : names) *given = *given || own == name;
      if (*given) wanted.emplace_back(name);
    }
    if (names != wanted) {
      refuse("inputs input_ids, token_type_ids, then masked_positions and pooling_mask where used",
             text::shown(std::vector<std::string_view>(names.begin(), names.end()), "[]"));
    }
  }

  void read_tensor(const std::string& name, const Json& json, std::uint64_t weights_bytes) {
    const std::string of = "tensor " + text::shown(name);
    check_fields(json, of, {"dtype", "shape", "offset"});
    Tensor tensor;
    tensor.int8 = chosen<bool>(json.at("dtype"), "dtype of " + of, {{"float32", false}, {"int8", true}});
    for (const Json& size : json.at("shape").array("shape of " + of)) {
      tensor.shape.push_back(static_cast<std::size_t>(
          whole(size, "size of " + of, 1, std::numeric_limits<std::int32_t>::max())));
    }
    const std::size_t axes = tensor.shape.size();
    if (axes == 0 || axes > 2) refuse("one or two axes of " + of, std::to_string(axes));
    tensor.offset = static_cast<std::uint64_t>(whole(json.at("offset"), "offset of " + of, 0,
                                                     std::numeric_limits<std::int64_t>::max()));
    if (tensor.offset % tensor_alignment != 0) {
      refuse("offset of " + of + " in whole 64 bytes", std::to_string(tensor.offset));
    }
    if (tensor.count() > std::numeric_limits<std::int32_t>::max()) {
      refuse(of + " of less than 2^31 numbers", std::to_string(tensor.count()));
    }
    if (tensor.offset > weights_bytes || tensor.bytes() > weights_bytes - tensor.offset) {
      refuse(of + " inside the weights file of " + std::to_string(weights_bytes) + " bytes",
             std::to_string(tensor.bytes()) + " bytes from " + std::to_string(tensor.offset));
    }
    tensor_ids_.emplace(name, program_.tensors.size());
    program_.tensors.push_back(std::move(tensor));
  }

  void read_value(const std::string& name, const Json& json) {
    const std::string of = "value " + text::shown(name);
    std::vector<std::string_view> fields{"rows", "width", "dtype"};
    for (const std::string_view field : {"scale", "zero_point"}) {
      if (json.find(field) != nullptr) fields.push_back(field);
    }
    check_fields(json, of, fields);
    Value value;
    value.name = name;
    value.numbers = chosen<Numbers>(
        json.at("dtype"), "dtype of " + of,
        {{"float32", Numbers::f32}, {"bfloat16", Numbers::bf16}, {"uint8", Numbers::u8}});
    if (value.numbers == Numbers::u8) {
      const double scale = json.at("scale").number("scale of " + of);
      value.scale = positive(json.at("scale"), "scale of " + of);
      if (double{value.scale} != scale || scale < least_scale || scale > most_scale) {
        refuse("scale of " + of + " that is a float32 from 2^-126 to 2^126", text::shown(scale));
      }
      value.zero_point =
          static_cast<std::int32_t>(whole(json.at("zero_point"), "zero point of " + of, 0, 255));
    } else {
      for (const std::string_view field : {"scale", "zero_point"}) {
        const Json* const given = json.find(field);
        if (given != nullptr && !given->is_null()) {
          refuse("scale and zero point of uint8 alone", "of " + of);
        }
      }
    }
    value.rows = chosen<Rows>(
        json.at("rows"), "rows of " + of,
        {{"tokens", Rows::tokens}, {"texts", Rows::texts}, {"masks", Rows::masks}});
    value.width = static_cast<std::size_t>(whole(json.at("width"), "width of " + of, 1, widest));
    value_ids_.emplace(name, program_.values.size());
    program_.values.push_back(std::move(value));
  }

  // The value of a field, which an earlier operation writes.
  ValueId operand(const Json& json, std::string_view field) {
    const std::string& name = json.string(of_ + "'s " + std::string(field));
    const auto found = value_ids_.find(name);
    if (found == value_ids_.end() || !written_[found->second]) {
      refuse(of_ + "'s " + std::string(field) + " written by an operation before it",
             text::shown(name));
    }
    return found->second;
  }
  ValueId operand_in(const Json& operation, std::string_view field) {
    return operand(operation.at(field), field);
  }

  const Value& value(ValueId id) const { return program_.values[id]; }

  void check_float(ValueId id, const std::string& field) const {
    if (value(id).numbers == Numbers::f32) return;
    refuse(of_ + "'s " + field + " in float32", text::shown(value(id).name));
  }
  void check_rows(ValueId id, Rows rows, const std::string& field) const {
    if (value(id).rows == rows) return;
    refuse(of_ + "'s " + field + " of other rows", text::shown(value(id).name));
  }
  void check_width(ValueId id, std::size_t width, const std::string& field) const {
    if (value(id).width == width) return;
    refuse(of_ + "'s " + field + " of width " + std::to_string(width),
           std::to_string(value(id).width));
  }

  // A tensor of a field, of a type and a shape.
  TensorId tensor(const Json& operation, const std::string& field, bool int8,
                  const std::vector<std::size_t>& shape) const {
    const std::string& name = operation.at(field).string(of_ + "'s " + field);
    const auto found = tensor_ids_.find(name);
    if (found == tensor_ids_.end()) refuse(of_ + "'s " + field + " among the tensors", text::shown(name));
    const Tensor& own = program_.tensors[found->second];
    bool fits = own.int8 == int8 && own.shape.size() == shape.size();
    std::string wanted;
    std::string got;
    for (std::size_t axis = 0; axis < shape.size(); ++axis) {
      // 0 stands for any size.
      fits = fits && (shape[axis] == 0 || own.shape[axis] == shape[axis]);
      wanted += (axis == 0 ? "" : ", ") + (shape[axis] == 0 ? "any" : std::to_string(shape[axis]));
    }
    for (const std::size_t size : own.shape) got += (got.empty() ? "" : ", ") + std::to_string(size);
    if (!fits) {
      refuse(of_ + "'s " + field + " as " + (int8 ? "int8 (" : "float32 (") + wanted + ")",
             (own.int8 ? "int8 (" : "float32 (") + got + ")");
    }
    return found->second;
  }
  std::optional<TensorId> tensor_or_none(const Json& operation, const std::string& field,
                                         const std::vector<std::size_t>& shape) const {
    if (operation.at(field).is_null()) return std::nullopt;
    return tensor(operation, field, false, shape);
  }

  // The outputs of an operation; the first fixes rows and width. They are marked as written when the
  // whole operation is read, so that none reads its own.
  std::vector<ValueId> read_outputs(const Json& json) const {
    std::vector<ValueId> outputs;
    std::map<Numbers, int> formats;
    for (const Json& name : json.at("outputs").array(of_ + "'s outputs")) {
      const auto found = value_ids_.find(name.string("an output of " + of_));
      if (found == value_ids_.end()) {
        refuse(of_ + "'s outputs among the values", text::shown(name.string("an output")));
      }
      const Value& own = value(found->second);
      if (written_[found->second]) {
        refuse("one operation that writes value " + text::shown(own.name), "two");
      }
      if (++formats[own.numbers] > 1) refuse(of_ + "'s outputs each in its own dtype", "one twice");
      outputs.push_back(found->second);
    }
    if (outputs.empty()) refuse("at least one output of " + of_, "none");
    for (const ValueId id : outputs) {
      check_rows(id, value(outputs.front()).rows, "outputs");
      check_width(id, value(outputs.front()).width, "outputs");
    }
    return outputs;
  }

  void check_one_output(const std::vector<ValueId>& outputs, Numbers numbers) const {
    if (outputs.size() == 1 && value(outputs.front()).numbers == numbers) return;
    refuse(of_ + "'s one output in the type that its kind has", std::to_string(outputs.size()) + " outputs, or another type");
  }

  void read_operation(const Json& json) {
    const std::string& kind = json.at("kind").string(of_ + "'s kind");
    of_ = kind + " " + of_;
    struct Kind {
      std::string_view name;
      std::vector<std::string_view> fields;
      void (Reader::*read)(const Json&, Operation&);
    };
    static const std::vector<Kind> kinds{
        {"embed",
         {"word", "word_scale", "token_type", "position", "gamma", "beta", "epsilon"},
         &Reader::read_embed},
        {"norm", {"x", "gamma", "beta", "epsilon"}, &Reader::read_norm},
        {"linear",
         {"x", "weight", "weight_scale", "transposed", "bias", "activation", "residual"},
         &Reader::read_linear},
        {"attention",
         {"query", "key", "value", "heads", "scale", "causal"},
         &Reader::read_attention},
        {"gather", {"x", "index"}, &Reader::read_gather},
        {"pool", {"x", "mode", "mask"}, &Reader::read_pool},
        {"concat", {"x"}, &Reader::read_concat},
        {"normalize", {"x", "epsilon"}, &Reader::read_normalize},
        {"quantize", {"x", "add", "multiply"}, &Reader::read_quantize},
    };
    for (const Kind& own : kinds) {
      if (own.name != kind) continue;
      std::vector<std::string_view> fields{"kind", "outputs"};
      if (own.read == &Reader::read_attention) add_if_there(json, "cache", fields);
      fields.insert(fields.end(), own.fields.begin(), own.fields.end());
      check_fields(json, of_, fields);
      Operation operation;
      operation.outputs = read_outputs(json);
      (this->*own.read)(json, operation);
      for (const ValueId id : operation.outputs) written_[id] = true;
      program_.operations.push_back(std::move(operation));
      return;
    }
    refuse("an operation of its schema", text::shown(kind));
  }

  void read_embed(const Json& json, Operation& operation) {
    const Value& y = value(operation.outputs.front());
    check_rows(operation.outputs.front(), Rows::tokens, "outputs");
    EmbedOperation own{};
    const bool int8 = !json.at("word_scale").is_null();
    own.word = tensor(json, "word", int8, {0, y.width});
    const std::size_t words = program_.tensors[own.word].shape[0];
    if (int8) own.word_scale = tensor(json, "word_scale", false, {words});
    own.token_type = tensor(json, "token_type", false, {0, y.width});
    own.position = tensor(json, "position", false, {0, y.width});
    own.gamma = tensor(json, "gamma", false, {y.width});
    own.beta = tensor(json, "beta", false, {y.width});
    own.epsilon = positive(json.at("epsilon"), of_ + "'s epsilon");
    const auto bound = [](std::size_t& least, std::size_t rows) {
      if (least == 0 || rows < least) least = rows;
    };
    bound(program_.words, words);
    bound(program_.token_types, program_.tensors[own.token_type].shape[0]);
    bound(program_.positions, program_.tensors[own.position].shape[0]);
    operation.fields = own;
  }

  void read_norm(const Json& json, Operation& operation) {
    const Value& y = value(operation.outputs.front());
    NormOperation own{};
    own.x = row_by_row(json, operation);
    check_width(own.x, y.width, "x");
    own.gamma = tensor(json, "gamma", false, {y.width});
    own.beta = tensor(json, "beta", false, {y.width});
    own.epsilon = positive(json.at("epsilon"), of_ + "'s epsilon");
    operation.fields = own;
  }

  // The float32 value x, of the outputs' rows.
  ValueId row_by_row(const Json& json, const Operation& operation) {
    const ValueId x = operand_in(json, "x");
    check_float(x, "x");
    check_rows(x, value(operation.outputs.front()).rows, "x");
    return x;
  }

  void read_linear(const Json& json, Operation& operation) {
    const Value& y = value(operation.outputs.front());
    LinearOperation own{};
    own.x = operand_in(json, "x");
    check_rows(own.x, y.rows, "x");
    const bool int8 = value(own.x).numbers == Numbers::u8;
    own.transposed = json.at("transposed").boolean(of_ + "'s transposed");
    own.weight = own.transposed ? tensor(json, "weight", int8, {y.width, value(own.x).width})
                                : tensor(json, "weight", int8, {value(own.x).width, y.width});
    own.weight_scale = tensor_or_none(json, "weight_scale", {y.width});
    if (own.weight_scale.has_value() != int8) {
      refuse(of_ + "'s weight_scale for weights in int8 and for no others", "other");
    }
    own.bias = tensor_or_none(json, "bias", {y.width});
    own.activation = chosen<Activation>(json.at("activation"), of_ + "'s activation",
                                        {{"none", Activation::none},
                                         {"gelu", Activation::gelu},
                                         {"gelu_tanh", Activation::gelu_tanh},
                                         {"relu", Activation::relu},
                                         {"tanh", Activation::tanh},
                                         {"sigmoid", Activation::sigmoid},
                                         {"silu", Activation::silu}});
    if (!json.at("residual").is_null()) {
      own.residual = operand_in(json, "residual");
      check_float(*own.residual, "residual");
      check_rows(*own.residual, y.rows, "residual");
      check_width(*own.residual, y.width, "residual");
    }
    operation.fields = own;
  }

  void read_attention(const Json& json, Operation& operation) {
    const Value& y = value(operation.outputs.front());
    AttentionOperation own{};
    own.query = operand_in(json, "query");
    own.key = operand_in(json, "key");
    own.value = operand_in(json, "value");
    for (const auto& [id, field] :
         {std::pair(own.query, "query"), std::pair(own.key, "key"), std::pair(own.value, "value")}) {
      check_width(id, y.width, field);
      if (value(id).numbers == Numbers::u8 || value(id).numbers != value(own.query).numbers) {
        refuse(of_ + "'s operands all in float32 or all in bfloat16", text::shown(value(id).name));
      }
    }
    check_rows(own.key, Rows::tokens, "key");
    check_rows(own.value, Rows::tokens, "value");
    check_rows(own.query, y.rows, "query");
    own.heads = static_cast<std::size_t>(whole(json.at("heads"), of_ + "'s heads", 1, widest));
    if (y.width % own.heads != 0) {
      refuse(of_ + "'s heads that divide " + std::to_string(y.width), std::to_string(own.heads));
    }
    own.scale = positive(json.at("scale"), of_ + "'s scale");
    own.causal = json.at("causal").boolean(of_ + "'s causal");
    const bool legal = own.causal ? y.rows == Rows::tokens : y.rows != Rows::masks;
    if (!legal) refuse(of_ + "'s query of tokens, or of texts and not causal", "other rows");
    const Json* const cache = json.find("cache");
    if (cache != nullptr && !cache->is_null()) read_cache(*cache, own, y.width);
    operation.fields = own;
  }

  // The cache of an attention, which no other has.
  void read_cache(const Json& json, AttentionOperation& own, std::size_t width) {
    if (program_.caches.empty()) refuse(of_ + "'s cache among the program's", "a program of none");
    own.cache = static_cast<std::size_t>(
        whole(json, of_ + "'s cache", 0, static_cast<std::int64_t>(program_.caches.size()) - 1));
    CacheRecord& record = program_.caches[*own.cache];
    if (record.heads != 0) refuse("one attention that has cache " + std::to_string(*own.cache), "two");
    record.heads = own.heads;
    record.head_size = width / own.heads;
    record.numbers = value(own.key).numbers;
  }

  void read_gather(const Json& json, Operation& operation) {
    const Value& y = value(operation.outputs.front());
    GatherOperation own{};
    own.x = operand_in(json, "x");
    const Value& x = value(own.x);
    own.index = chosen<GatherIndex>(json.at("index"), of_ + "'s index",
                                    {{"first", GatherIndex::first},
                                     {"last", GatherIndex::last},
                                     {"first_pooled", GatherIndex::first_pooled},
                                     {"last_pooled", GatherIndex::last_pooled},
                                     {"masked_positions", GatherIndex::masked_positions}});
    check_rows(own.x, Rows::tokens, "x");
    const bool masks = own.index == GatherIndex::masked_positions;
    uses_masked_positions_ = uses_masked_positions_ || masks;
    uses_pooling_mask_ = uses_pooling_mask_ || own.index == GatherIndex::first_pooled ||
                         own.index == GatherIndex::last_pooled;
    check_rows(operation.outputs.front(), masks ? Rows::masks : Rows::texts, "output");
    check_width(own.x, y.width, "x");
    check_one_output(operation.outputs, x.numbers);
    if (x.scale != y.scale || x.zero_point != y.zero_point) {
      refuse(of_ + "'s output with the scale and the zero point of x", "others");
    }
    operation.fields = own;
  }

  void read_pool(const Json& json, Operation& operation) {
    PoolOperation own{};
    own.x = operand_in(json, "x");
    check_float(own.x, "x");
    check_rows(own.x, Rows::tokens, "x");
    check_rows(operation.outputs.front(), Rows::texts, "output");
    check_width(own.x, value(operation.outputs.front()).width, "x");
    check_one_output(operation.outputs, Numbers::f32);
    own.mode = chosen<PoolMode>(json.at("mode"), of_ + "'s mode",
                                {{"mean", PoolMode::mean},
                                 {"mean_sqrt_len", PoolMode::mean_sqrt_len},
                                 {"weightedmean", PoolMode::weightedmean},
                                 {"max", PoolMode::max}});
    own.masked = !json.at("mask").is_null();
    if (own.masked && json.at("mask").string(of_ + "'s mask") != "pooling_mask") {
      refuse(of_ + "'s mask null or pooling_mask", text::shown(json.at("mask").string("mask")));
    }
    uses_pooling_mask_ = uses_pooling_mask_ || own.masked;
    operation.fields = own;
  }

  void read_concat(const Json& json, Operation& operation) {
    ConcatOperation own;
    std::size_t width = 0;
    for (const Json& name : json.at("x").array(of_ + "'s x")) {
      own.x.push_back(operand(name, "x"));
      check_float(own.x.back(), "x");
      check_rows(own.x.back(), Rows::texts, "x");
      width += value(own.x.back()).width;
    }
    if (own.x.size() < 2) refuse(of_ + "'s x of two or more values", std::to_string(own.x.size()));
    check_rows(operation.outputs.front(), Rows::texts, "output");
    check_width(operation.outputs.front(), width, "output");
    check_one_output(operation.outputs, Numbers::f32);
    operation.fields = std::move(own);
  }

  void read_normalize(const Json& json, Operation& operation) {
    NormalizeOperation own{};
    own.x = row_by_row(json, operation);
    check_rows(own.x, Rows::texts, "x");
    check_width(own.x, value(operation.outputs.front()).width, "x");
    check_one_output(operation.outputs, Numbers::f32);
    own.epsilon = positive(json.at("epsilon"), of_ + "'s epsilon");
    operation.fields = own;
  }

  void read_quantize(const Json& json, Operation& operation) {
    const Value& y = value(operation.outputs.front());
    QuantizeOperation own{};
    own.x = row_by_row(json, operation);
    check_width(own.x, y.width, "x");
    if (operation.outputs.size() != 1 || y.numbers == Numbers::f32) {
      refuse(of_ + "'s one output in uint8 or bfloat16", text::shown(y.name));
    }
    own.add = tensor_or_none(json, "add", {y.width});
    own.multiply = tensor_or_none(json, "multiply", {y.width});
    operation.fields = own;
  }

  void read_output(const Json& json) {
    check_fields(json, "an output", {"name", "value", "column"});
    ProgramOutput output;
    output.name = json.at("name").string("an output's name");
    of_ = "output " + text::shown(output.name);
    for (const ProgramOutput& other : program_.outputs) {
      if (other.name == output.name) refuse("one " + of_, "two");
    }
    output.value = operand_in(json, "value");
    check_float(output.value, "value");
    if (!json.at("column").is_null()) {
      const auto last = static_cast<std::int64_t>(value(output.value).width) - 1;
      output.column = static_cast<std::size_t>(whole(json.at("column"), of_ + "'s column", 0, last));
    }
    program_.outputs.push_back(std::move(output));
  }

  void check_inputs_are_used() const {
    for (const auto& [name, given, used] :
         {std::tuple("masked_positions", program_.masked_positions, uses_masked_positions_),
          std::tuple("pooling_mask", program_.pooling_mask, uses_pooling_mask_)}) {
      if (given == used) continue;
      refuse(std::string("input ") + name + " named exactly where it is used",
             given ? "named, not used" : "used, not named");
    }
  }

  // What padded batches hand over and get, which a session reads and writes by these axes.
  void read_interface(const Json& json) {
    check_fields(json, "the interface", {"inputs", "outputs"});
    const auto read = [](const Json& specs, const std::string& of,
                         std::vector<bundle::TensorSpec>& read_specs) {
      for (const Json& spec : specs.array(of + "s of the interface")) {
        std::vector<std::string_view> fields{"name", "dtype", "shape"};
        add_if_there(spec, "below", fields);
        check_fields(spec, "an " + of + " of the interface", fields);
        read_specs.push_back(bundle::read_tensor(spec));
      }
    };
    read(json.at("inputs"), "input", program_.interface_inputs);
    read(json.at("outputs"), "output", program_.interface_outputs);

    Axes rows{"batch", "sequence"};  // of the tokens
    for (const bundle::TensorSpec& spec : program_.interface_inputs) {
      if (spec.name == "input_ids" && spec.shape.size() == 3) rows = {"batch", "choices", "sequence"};
    }
    const Axes per_text(rows.begin(), rows.end() - 1);
    const auto kept = [](const CacheRecord& cache, const char* tokens) {
      return Axes{"batch", static_cast<std::int64_t>(cache.heads), tokens,
                  static_cast<std::int64_t>(cache.head_size)};
    };

    std::vector<bundle::TensorSpec> inputs{
        {"input_ids", "int64", rows, {}},
        {"attention_mask", "int64", program_.caches.empty() ? rows : Axes{"batch", "total"}, {}},
        {"token_type_ids", "int64", rows, {}}};
    if (program_.masked_positions) inputs.push_back({"masked_positions", "int64", {"masked"}, {}});
    if (program_.pooling_mask) inputs.push_back({"pooling_mask", "int64", rows, {}});
    std::vector<bundle::TensorSpec> outputs;
    for (const ProgramOutput& output : program_.outputs) {
      const Value& own = value(output.value);
      Axes shape = own.rows == Rows::tokens ? rows : per_text;
      if (own.rows == Rows::masks) shape = {"masked"};
      if (!output.column) shape.emplace_back(static_cast<std::int64_t>(own.width));
      outputs.push_back({output.name, "float32", std::move(shape), {}});
    }
    for (const CacheRecord& cache : program_.caches) {
      inputs.push_back({cache.past_key, "float32", kept(cache, "past"), {}});
      inputs.push_back({cache.past_value, "float32", kept(cache, "past"), {}});
      outputs.push_back({cache.present_key, "float32", kept(cache, "total"), {}});
      outputs.push_back({cache.present_value, "float32", kept(cache, "total"), {}});
    }
    // Inputs are handed over by name, outputs in their order.
    const auto by_name = [](const bundle::TensorSpec& one, const bundle::TensorSpec& other) {
      return one.name < other.name;
    };
    std::vector<bundle::TensorSpec> given = program_.interface_inputs;
    std::sort(given.begin(), given.end(), by_name);
    std::sort(inputs.begin(), inputs.end(), by_name);
    check_specs("inputs", inputs, given);
    check_specs("outputs", outputs, program_.interface_outputs);
  }

  static void check_specs(const std::string& what, const std::vector<bundle::TensorSpec>& wanted,
                          const std::vector<bundle::TensorSpec>& given) {
    const auto shown_at = [](const std::vector<bundle::TensorSpec>& specs, std::size_t place) {
      if (place >= specs.size()) return std::string("none");
      std::string axes;
      for (const auto& axis : specs[place].shape) {
        const auto* const size = std::get_if<std::int64_t>(&axis);
        axes += (axes.empty() ? "" : ", ") +
                (size != nullptr ? std::to_string(*size) : text::shown(std::get<std::string>(axis)));
      }
      return text::shown(specs[place].name) + " " + text::shown(specs[place].dtype) + " (" + axes + ")";
    };
    for (std::size_t place = 0; place < std::max(wanted.size(), given.size()); ++place) {
      if (place < wanted.size() && place < given.size() &&
          bundle::is_same(wanted[place], given[place])) {
        continue;
      }
      refuse("the interface's " + what + " to have " + shown_at(wanted, place),
             shown_at(given, place));
    }
  }

  using Axes = decltype(bundle::TensorSpec::shape);

  ProgramFile program_;
  std::map<std::string, TensorId> tensor_ids_;
  std::map<std::string, ValueId> value_ids_;
  std::vector<bool> written_;
  bool uses_masked_positions_ = false;
  bool uses_pooling_mask_ = false;
  // What is being read, as errors call it.
  std::string of_;
};

}  // namespace

std::size_t Tensor::count() const {
  std::size_t count = 1;
  for (const std::size_t size : shape) count *= size;
  return count;
}

std::vector<ValueId> Operation::inputs() const {
  struct Read {
    std::vector<ValueId> operator()(const EmbedOperation&) const { return {}; }
    std::vector<ValueId> operator()(const NormOperation& own) const { return {own.x}; }
    std::vector<ValueId> operator()(const LinearOperation& own) const {
      if (own.residual) return {own.x, *own.residual};
      return {own.x};
    }
    std::vector<ValueId> operator()(const AttentionOperation& own) const {
      return {own.query, own.key, own.value};
    }
    std::vector<ValueId> operator()(const GatherOperation& own) const { return {own.x}; }
    std::vector<ValueId> operator()(const PoolOperation& own) const { return {own.x}; }
    std::vector<ValueId> operator()(const ConcatOperation& own) const { return own.x; }
    std::vector<ValueId> operator()(const NormalizeOperation& own) const { return {own.x}; }
    std::vector<ValueId> operator()(const QuantizeOperation& own) const { return {own.x}; }
  };
  return std::visit(Read{}, fields);
}

ProgramFile parse_program(const std::string& name, const std::string& text,
                          std::uint64_t weights_bytes) {
  const char* const fix = "Export the bundle again";
  try {
    return Reader().read(Json::parse(text), weights_bytes);
  } catch (const Illegal& wrong) {
    throw BundleError("program " + name + " is not legal", {wrong.expected, wrong.got, fix});
  } catch (const text::JsonError& error) {
    throw BundleError("program " + name + " is not legal",
                      {"the JSON of a program", error.what(), fix});
  }
}

}  // namespace bert_export::native
