// The module bert_export.runtime._native: the C++ tokenizer for Python.
//
// It gives what the Python package's own tokenizer gives. What it cannot do it refuses with a
// ValueError, and the caller takes the other path.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bert_export/errors.hpp"
#include "bert_export/tokenizer.hpp"

namespace {

namespace py = pybind11;
using bert_export::Encoded;
using bert_export::EncodeOptions;
using bert_export::Span;
using bert_export::Text;
using bert_export::Tokenizer;
using bert_export::TokenizerRecord;

using Array = py::array_t<std::int64_t>;

// A copy of numbers, int64 (1, S).
Array row_of(const std::vector<std::int64_t>& numbers) {
  Array array({py::ssize_t{1}, static_cast<py::ssize_t>(numbers.size())});
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

std::size_t code_points(std::string_view text) {
  std::size_t count = 0;
  for (const char byte : text) count += (static_cast<unsigned char>(byte) & 0xC0U) != 0x80U ? 1 : 0;
  return count;
}

// The tokens of a row that stand for text: what they are called, where they lie, and whether each
// continues a word; see read_tokens of the Python package's decoding.
py::tuple read_tokens(const Encoded& row, const std::string& text, bool prefixed,
                      std::int64_t unknown_id) {
  py::list words;
  py::list starts;
  py::list ends;
  py::list places;
  py::list continues;
  for (std::size_t index = 0; index < row.size(); ++index) {
    if (row.special_tokens_mask[index] != 0) continue;
    const Span place = row.offsets[index];
    const Span bytes = row.byte_offsets[index];
    const std::string_view source =
        std::string_view(text).substr(bytes.begin, bytes.end - bytes.begin);
    const std::string& token = row.tokens[index];
    const bool unknown = row.ids[index] == unknown_id;
    bool joined = false;
    if (prefixed) {
      joined = code_points(token) != place.end - place.begin;
    } else if (place.begin > 0) {
      joined = text[bytes.begin - 1] != ' ' && text.compare(bytes.begin, 1, " ") != 0;
    }
    words.append(unknown ? py::str(source.data(), source.size()) : py::str(token));
    starts.append(place.begin);
    ends.append(place.end);
    places.append(index);
    continues.append(joined && !unknown);
  }
  return py::make_tuple(words, starts, ends, places, continues);
}

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
  if (texts.size() == 1) return encode_all();  // sooner done than the lock is given away
  const py::gil_scoped_release unlocked;
  return encode_all();
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
      .def_property_readonly("input_ids", [](const Encoded& row) { return row_of(row.ids); })
      .def_property_readonly("token_type_ids",
                             [](const Encoded& row) { return row_of(row.type_ids); })
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
                             })
      .def("read_tokens", &read_tokens, py::arg("text"), py::arg("prefixed"),
           py::arg("unknown_id"));

  py::class_<Tokenizer>(module, "Tokenizer")
      .def(py::init([](const std::string& json, const py::dict& record) {
             return std::make_unique<Tokenizer>(Tokenizer::from_json(json, read_record(record)));
           }),
           py::arg("json"), py::arg("record"))
      .def("encode", &encode, py::arg("texts"), py::arg("seconds"), py::arg("max_length"),
           py::arg("add_special_tokens"));
}
