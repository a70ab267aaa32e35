// The module bert_export.runtime._native: the C++ tokenizer and decoding for Python, and the programs
// of the native target.
//
// Tokenizer and decoding give what the Python package's own parts give. What they cannot do they refuse
// with a ValueError or answer with None, and the caller takes the other path.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bert_export/errors.hpp"
#include "bert_export/tokenizer.hpp"
#include "decoding/entities.hpp"
#include "native/cache.hpp"
#include "native/program.hpp"

namespace {

namespace py = pybind11;
using bert_export::Encoded;
using bert_export::EncodeOptions;
using bert_export::Span;
using bert_export::Text;
using bert_export::Tokenizer;
using bert_export::TokenizerRecord;
using bert_export::decoding::Matrix;
namespace decoding = bert_export::decoding;
using bert_export::native::name_of;
using bert_export::native::Program;

using Array = py::array_t<std::int64_t, py::array::c_style | py::array::forcecast>;
using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;

// A copy of numbers, int64 (S,).
Array row_of(const std::vector<std::int64_t>& numbers) {
  Array array(static_cast<py::ssize_t>(numbers.size()));
  std::memcpy(array.mutable_data(), numbers.data(), numbers.size() * sizeof(std::int64_t));
  return array;
}

py::list optional_numbers(const std::vector<std::int32_t>& numbers) {
  py::list list(numbers.size());
  for (std::size_t index = 0; index < numbers.size(); ++index) {
    list[index] = numbers[index] == bert_export::none ? py::object(py::none())
                                                      : py::object(py::int_(numbers[index]));
  }
  return list;
}

// The names in answers. They live as long as the process: no destructor may run after Python's end.
struct Keys {
  py::str entity{"entity"};
  py::str entity_group{"entity_group"};
  py::str score{"score"};
  py::str index{"index"};
  py::str word{"word"};
  py::str start{"start"};
  py::str end{"end"};
};

const Keys& keys() {
  static const Keys* const made = new Keys();
  return *made;
}

void put(py::dict& fields, const py::str& key, const py::object& value) {
  if (PyDict_SetItem(fields.ptr(), key.ptr(), value.ptr()) != 0) throw py::error_already_set();
}

// Whether an array is float32 of so many axes, as it lies in C.
bool is_plain(const py::array& array, py::ssize_t axes) {
  return array.ndim() == axes && array.dtype().num() == py::dtype::of<float>().num() &&
         (array.flags() & py::array::c_style) != 0;
}

Matrix matrix_of(const py::array& array) {
  return {static_cast<const float*>(array.data()), static_cast<std::size_t>(array.shape(0)),
          static_cast<std::size_t>(array.shape(1))};
}

decoding::Aggregation read_aggregation(std::string_view name) {
  using decoding::Aggregation;
  if (name == "none") return Aggregation::none;
  if (name == "simple") return Aggregation::simple;
  if (name == "first") return Aggregation::first;
  if (name == "average") return Aggregation::average;
  if (name == "max") return Aggregation::max;
  throw py::value_error("aggregation is unknown");
}

// Tags the tokens of texts; the tokenizer outlives it.
class Tagger {
 public:
  Tagger(const Tokenizer& tokenizer, const std::vector<std::string>& labels)
      : tokenizer_(tokenizer), table_(decoding::TagTable::from_labels(labels)) {}

  // The tagged tokens or the entities of a text that one row holds, with logits float32 (S, L).
  py::object decode(const std::string& text, const Encoded& row, const py::array& logits,
                    const std::string& aggregation, const std::vector<std::string>& ignored) const {
    if (!is_plain(logits, 2)) return py::none();
    const Matrix numbers = matrix_of(logits);
    if (numbers.rows != row.size() || numbers.columns != table_.names.size()) return py::none();
    decoding::TaggingOptions options;
    options.aggregation = read_aggregation(aggregation);
    options.ignore_labels = ignored;
    options.prefix = tokenizer_.continuing_prefix();
    options.unk_id = tokenizer_.unk_id();
    const auto join = [this](const std::vector<std::string>& tokens) {
      return tokenizer_.join(tokens);
    };
    const bool grouped = options.aggregation != decoding::Aggregation::none;
    const Keys& names = keys();
    py::list answer;
    for (const bert_export::Entity& entity :
         decoding::decode_entities({text, {}, {}, false}, {{&row, numbers}}, table_, options, join)) {
      py::dict fields;
      put(fields, grouped ? names.entity_group : names.entity, py::str(entity.entity));
      put(fields, names.score, py::float_(entity.score));
      if (!grouped) put(fields, names.index, py::int_(entity.index));
      put(fields, names.word, py::str(entity.word));
      put(fields, names.start, py::int_(entity.offsets.begin));
      put(fields, names.end, py::int_(entity.offsets.end));
      answer.append(std::move(fields));
    }
    return answer;
  }

 private:
  const Tokenizer& tokenizer_;
  decoding::TagTable table_;
};

TokenizerRecord read_record(const py::dict& fields) {
  TokenizerRecord record;
  record.max_length = fields["max_length"].cast<std::int64_t>();
  record.cls_token = fields["cls_token"].cast<std::string>();
  record.sep_token = fields["sep_token"].cast<std::string>();
  record.pad_token = fields["pad_token"].cast<std::string>();
  record.mask_token = fields["mask_token"].cast<std::string>();
  record.unk_token = fields["unk_token"].cast<std::string>();
  record.clean_up_tokenization_spaces = fields["clean_up_tokenization_spaces"].cast<bool>();
  record.token_types = fields["token_types"].cast<bool>();
  record.truncation_side = fields["truncation_side"].cast<std::string>() == "left"
                               ? bert_export::Side::left
                               : bert_export::Side::right;
  return record;
}

// The rows of texts, and of pairs where a text has a second; cut at the longer text's end.
std::vector<std::shared_ptr<Encoded>> encode(const Tokenizer& tokenizer,
                                             const std::vector<std::string>& texts,
                                             const std::vector<std::string>& seconds,
                                             std::int64_t max_length, bool add_special_tokens) {
  if (!seconds.empty() && seconds.size() != texts.size()) {
    throw py::value_error("as many second texts as texts are needed");
  }
  EncodeOptions options;
  options.max_length = max_length;
  options.add_special_tokens = add_special_tokens;
  const auto encode_all = [&] {
    std::vector<std::shared_ptr<Encoded>> rows;
    rows.reserve(texts.size());
    for (std::size_t index = 0; index < texts.size(); ++index) {
      const Text text = seconds.empty() ? Text(texts[index]) : Text(texts[index], seconds[index]);
      std::vector<Encoded> windows = tokenizer.encode(text, options);
      rows.push_back(std::make_shared<Encoded>(std::move(windows.front())));
    }
    return rows;
  };
  const py::gil_scoped_release unlocked;
  return encode_all();
}

// The row of one text: sooner done than lists are made, and than the lock is given away.
std::shared_ptr<Encoded> encode_text(const Tokenizer& tokenizer, const std::string& text,
                                     std::int64_t max_length, bool add_special_tokens) {
  EncodeOptions options;
  options.max_length = max_length;
  options.add_special_tokens = add_special_tokens;
  return std::make_shared<Encoded>(std::move(tokenizer.encode(Text(text), options).front()));
}

// Keys and values of a batch that grows call by call. One call uses it at a time; another is refused.
class OpenCache {
 public:
  using Cache = bert_export::native::Cache;

  // A call's use of it; made and ended under Python's lock.
  class Use {
   public:
    explicit Use(const OpenCache& own) : own_(own) {
      if (own.used_) throw py::value_error("the cache is used by another call");
      own.used_ = true;
    }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    ~Use() { own_.used_ = false; }

   private:
    const OpenCache& own_;
  };

  explicit OpenCache(const bert_export::native::ProgramFile& file)
      : cache_(file), records_(file.caches) {}

  Cache& cache() { return cache_; }

  // Tokens of each text, int64 (texts,).
  Array lengths() const {
    const Use use(*this);
    Array lengths(static_cast<py::ssize_t>(cache_.texts()));
    for (std::size_t text = 0; text < cache_.texts(); ++text) {
      lengths.mutable_data()[text] = static_cast<std::int64_t>(cache_.length(text));
    }
    return lengths;
  }

  void select(const Array& texts) {
    const Use use(*this);
    std::vector<std::size_t> chosen;
    for (py::ssize_t place = 0; place < texts.size(); ++place) {
      chosen.push_back(static_cast<std::size_t>(texts.data()[place]));
    }
    cache_.select(chosen);
  }

  // Fills an empty cache: of each record keys and values of all texts' tokens, (tokens, heads * size).
  void fill(const Array& lengths, const std::vector<Floats>& arrays) {
    const Use use(*this);
    std::vector<std::size_t> sizes;
    std::size_t tokens = 0;
    for (py::ssize_t text = 0; text < lengths.size(); ++text) {
      if (lengths.data()[text] < 0) throw py::value_error("a length is below 0");
      sizes.push_back(static_cast<std::size_t>(lengths.data()[text]));
      tokens += sizes.back();
    }
    if (arrays.size() != 2 * records_.size()) throw py::value_error("each record has two arrays");
    for (std::size_t place = 0; place < arrays.size(); ++place) {
      const std::size_t width = width_of(place / 2);
      if (static_cast<std::size_t>(arrays[place].size()) != tokens * width) {
        throw py::value_error("keys and values are of another number of tokens");
      }
    }
    cache_ = cache_.like();
    cache_.make_room(sizes);
    for (std::size_t place = 0; place < arrays.size(); ++place) {
      const float* floats = arrays[place].data();
      for (std::size_t text = 0; text < sizes.size(); ++text) {
        cache_.write(place / 2, part_of(place), text, floats, 0, sizes[text]);
        floats += sizes[text] * width_of(place / 2);
      }
    }
    cache_.grow(sizes);
  }

  // What `fill` takes.
  std::vector<Floats> read() const {
    const Use use(*this);
    std::size_t tokens = 0;
    for (std::size_t text = 0; text < cache_.texts(); ++text) tokens += cache_.length(text);
    std::vector<Floats> arrays;
    for (std::size_t place = 0; place < 2 * records_.size(); ++place) {
      const std::size_t width = width_of(place / 2);
      Floats array({static_cast<py::ssize_t>(tokens), static_cast<py::ssize_t>(width)});
      float* floats = array.mutable_data();
      for (std::size_t text = 0; text < cache_.texts(); ++text) {
        cache_.read(place / 2, part_of(place), text, floats);
        floats += cache_.length(text) * width;
      }
      arrays.push_back(std::move(array));
    }
    return arrays;
  }

 private:
  static Cache::Part part_of(std::size_t place) {
    return place % 2 == 0 ? Cache::Part::keys : Cache::Part::values;
  }
  std::size_t width_of(std::size_t record) const {
    return records_[record].heads * records_[record].head_size;
  }

  Cache cache_;
  std::vector<bert_export::native::CacheRecord> records_;
  mutable bool used_ = false;
};

// A program for Python, which may be closed.
class OpenProgram {
 public:
  OpenProgram(const std::string& program, const std::string& weights, std::size_t threads,
              const std::string& isa)
      : program_(Program::open(program, weights, {threads, isa})),
        isa_(name_of(program_->set())),
        threads_(program_->threads()) {}

  const std::string& isa() const { return isa_; }
  std::size_t threads() const { return threads_; }

  // A run that goes on elsewhere keeps the program until it ends.
  void close() { program_.reset(); }

  // An empty cache.
  std::unique_ptr<OpenCache> open_cache() const {
    return std::make_unique<OpenCache>(opened()->file());
  }

  py::dict run(const Array& input_ids, const Array& token_type_ids, const Array& lengths,
               const py::dict& further, OpenCache* cache) const {
    const std::shared_ptr<const Program> program = opened();
    bert_export::native::Batch batch;
    std::optional<OpenCache::Use> use;
    if (cache != nullptr) {
      use.emplace(*cache);
      batch.cache = &cache->cache();
    }
    batch.tokens = size_of("input_ids", input_ids);
    batch.texts = size_of("lengths", lengths);
    batch.input_ids = input_ids.data();
    batch.lengths = lengths.data();
    batch.token_type_ids = per_token("token_type_ids", token_type_ids, batch.tokens);
    std::vector<Array> kept;
    for (const auto& [key, given] : further) {
      const auto name = key.cast<std::string>();
      kept.push_back(given.cast<Array>());
      const Array& array = kept.back();
      if (name == "position_ids") {
        batch.position_ids = per_token("position_ids", array, batch.tokens);
      } else if (name == "pooling_mask") {
        batch.pooling_mask = per_token("pooling_mask", array, batch.tokens);
      } else if (name == "masked_positions") {
        static const std::int64_t none_masked = 0;
        batch.masks = size_of("masked_positions", array);
        batch.masked_positions = batch.masks == 0 ? &none_masked : array.data();
      } else {
        throw py::value_error("input " + name + " is unknown");
      }
    }
    std::vector<bert_export::native::Result> results;
    {
      const py::gil_scoped_release unlocked;
      results = program->run(batch);
    }
    py::dict outputs;
    for (bert_export::native::Result& result : results) outputs[result.name.c_str()] = to_array(result);
    return outputs;
  }

 private:
  std::shared_ptr<const Program> opened() const {
    if (program_ == nullptr) throw py::value_error("the program is closed");
    return program_;
  }
  static std::size_t size_of(const std::string& name, const Array& array) {
    if (array.ndim() == 1) return static_cast<std::size_t>(array.shape(0));
    throw py::value_error("input " + name + " has the wrong shape: expected one axis, got " +
                          std::to_string(array.ndim()));
  }
  static const std::int64_t* per_token(const std::string& name, const Array& array,
                                       std::size_t tokens) {
    const std::size_t size = size_of(name, array);
    if (size == tokens) return array.data();
    throw py::value_error("input " + name + " has the wrong shape: expected (" +
                          std::to_string(tokens) + ",), got (" + std::to_string(size) + ",)");
  }
  // The numbers become the array's, without a copy.
  static py::array to_array(bert_export::native::Result& result) {
    auto* const numbers = new std::vector<float>(std::move(result.numbers));
    const py::capsule owner(numbers, [](void* memory) {
      delete static_cast<std::vector<float>*>(memory);
    });
    std::vector<py::ssize_t> shape{static_cast<py::ssize_t>(result.rows)};
    if (!result.column) shape.push_back(static_cast<py::ssize_t>(result.width));
    return py::array_t<float>(shape, numbers->data(), owner);
  }

  std::shared_ptr<const Program> program_;
  std::string isa_;
  std::size_t threads_;
};

// The sets of kernels that this machine runs, the fastest first, from BERT_EXPORT_ISA on.
std::vector<std::string> native_isas() {
  const auto chosen = bert_export::native::chosen_set();
  std::vector<std::string> names;
  for (const auto set : bert_export::native::available_sets()) {
    if (set <= chosen) names.insert(names.begin(), name_of(set));
  }
  return names;
}

}  // namespace

PYBIND11_MODULE(_native, module) {
  module.attr("state") = BERT_EXPORT_STATE;

  py::register_local_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const bert_export::Error& error) {
      py::set_error(PyExc_ValueError, error.what());
    }
  });

  py::class_<Encoded, std::shared_ptr<Encoded>>(module, "Row")
      .def("__len__", &Encoded::size)
      .def_property_readonly("ids", [](const Encoded& row) { return row.ids; })
      .def_property_readonly("type_ids", [](const Encoded& row) { return row.type_ids; })
      .def("numbers",
           [](const Encoded& row) { return py::make_tuple(row_of(row.ids), row_of(row.type_ids)); })
      .def_property_readonly("tokens", [](const Encoded& row) { return row.tokens; })
      .def_property_readonly("offsets",
                             [](const Encoded& row) {
                               py::list list(row.offsets.size());
                               for (std::size_t index = 0; index < row.offsets.size(); ++index) {
                                 const Span span = row.offsets[index];
                                 list[index] = py::make_tuple(span.begin, span.end);
                               }
                               return list;
                             })
      .def_property_readonly("word_ids",
                             [](const Encoded& row) { return optional_numbers(row.word_ids); })
      .def_property_readonly("sequence_ids",
                             [](const Encoded& row) { return optional_numbers(row.sequence_ids); })
      .def_property_readonly("special_tokens_mask",
                             [](const Encoded& row) {
                               py::list list(row.size());
                               for (std::size_t index = 0; index < row.size(); ++index) {
                                 list[index] = py::int_(int{row.special_tokens_mask[index]});
                               }
                               return list;
                             });

  py::class_<Tokenizer>(module, "Tokenizer")
      .def(py::init([](const std::string& json, const py::dict& record) {
             return std::make_unique<Tokenizer>(Tokenizer::from_json(json, read_record(record)));
           }),
           py::arg("json"), py::arg("record"))
      .def("encode_text", &encode_text, py::arg("text"), py::arg("max_length"),
           py::arg("add_special_tokens"))
      .def("encode", &encode, py::arg("texts"), py::arg("seconds"), py::arg("max_length"),
           py::arg("add_special_tokens"));

  py::class_<Tagger>(module, "Tagger")
      .def(py::init<const Tokenizer&, const std::vector<std::string>&>(), py::arg("tokenizer"),
           py::arg("labels"), py::keep_alive<1, 2>())
      .def("decode", &Tagger::decode, py::arg("text"), py::arg("row"), py::arg("logits"),
           py::arg("aggregation"), py::arg("ignored"));
  module.def("native_isas", &native_isas);
  module.def("native_left_out", &bert_export::native::left_out);
  py::class_<OpenCache>(module, "Cache")
      .def("lengths", &OpenCache::lengths)
      .def("select", &OpenCache::select, py::arg("texts"))
      .def("fill", &OpenCache::fill, py::arg("lengths"), py::arg("arrays"))
      .def("read", &OpenCache::read);
  py::class_<OpenProgram>(module, "Program")
      .def(py::init<const std::string&, const std::string&, std::size_t, const std::string&>(),
           py::arg("program"), py::arg("weights"), py::kw_only(), py::arg("threads") = 0,
           py::arg("isa") = "", py::call_guard<py::gil_scoped_release>())
      .def_property_readonly("isa", &OpenProgram::isa)
      .def_property_readonly("threads", &OpenProgram::threads)
      .def("run", &OpenProgram::run, py::arg("input_ids"), py::arg("token_type_ids"),
           py::arg("lengths"), py::arg("further"), py::arg("cache") = nullptr)
      .def("open_cache", &OpenProgram::open_cache)
      .def("close", &OpenProgram::close);
}
