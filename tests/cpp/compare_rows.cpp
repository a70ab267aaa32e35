// Compares the tokenizer's rows with another library's, which come in frames on standard input:
//
//     compare_rows tokenizer.json record.json < frames > differences
//
// A frame is three numbers of 32 bits: the bytes of a text, those of its tokens' texts, and its
// tokens S. Then come the text; the tokens, with a line's end behind each; then ids, types, first
// and last places (2 S), words, sequences and special masks, S numbers of 32 bits each. Per text
// that differs an object is written, with its place in the input and our rows or error; at the end
// the number of texts that were read.

#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "bert_export/errors.hpp"
#include "bert_export/tokenizer.hpp"
#include "bundle/manifest.hpp"
#include "json_writer.hpp"
#include "text/json.hpp"
#include "text/utf8.hpp"

namespace {

using bert_export::Encoded;
using bert_export::Tokenizer;
using bert_export::text::Json;

std::string read_file(const char* path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

template <typename Number>
bool read_numbers(std::vector<Number>& numbers) {
  return std::fread(numbers.data(), sizeof(Number), numbers.size(), stdin) == numbers.size();
}

std::vector<std::int32_t> flattened(const Encoded& row) {
  std::vector<std::int32_t> numbers;
  for (const std::int64_t id : row.ids) numbers.push_back(static_cast<std::int32_t>(id));
  for (const std::int64_t type : row.type_ids) numbers.push_back(static_cast<std::int32_t>(type));
  for (const bert_export::Span span : row.offsets) {
    numbers.push_back(static_cast<std::int32_t>(span.begin));
    numbers.push_back(static_cast<std::int32_t>(span.end));
  }
  numbers.insert(numbers.end(), row.word_ids.begin(), row.word_ids.end());
  numbers.insert(numbers.end(), row.sequence_ids.begin(), row.sequence_ids.end());
  numbers.insert(numbers.end(), row.special_tokens_mask.begin(), row.special_tokens_mask.end());
  return numbers;
}

std::string joined(const std::vector<std::string>& tokens) {
  std::string text;
  for (const std::string& token : tokens) text += token + '\n';
  return text;
}

// Whether places in bytes say the same as places in code points.
bool is_consistent(const Encoded& row, const std::string& text) {
  std::vector<std::size_t> starts;
  for (std::size_t place = 0; place < text.size();) {
    starts.push_back(place);
    place += bert_export::text::decode_at(text, place).bytes;
  }
  starts.push_back(text.size());
  for (std::size_t token = 0; token < row.size(); ++token) {
    const bert_export::Span span = row.offsets[token];
    const bert_export::Span bytes = row.byte_offsets[token];
    if (starts[span.begin] != bytes.begin || starts[span.end] != bytes.end) return false;
  }
  return true;
}

// What is written of a text that differs; empty where it does not.
std::string difference(const Tokenizer& tokenizer, const std::string& text,
                       const std::string& tokens, const std::vector<std::int32_t>& expected) {
  try {
    const std::vector<Encoded> rows = tokenizer.encode(text);
    if (rows.size() == 1 && flattened(rows[0]) == expected && joined(rows[0].tokens) == tokens &&
        is_consistent(rows[0], text)) {
      return {};
    }
    return "\"rows\":" + tests::to_json(rows);
  } catch (const bert_export::Error& error) {
    return "\"error\":" + tests::to_json(error.what());
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) {
    std::cerr << "usage: compare_rows tokenizer.json record.json\n";
    return 2;
  }
  const Tokenizer tokenizer = Tokenizer::from_file(
      arguments[1], bert_export::bundle::read_tokenizer(Json::parse(read_file(arguments[2]))));
  std::size_t read = 0;
  for (std::vector<std::uint32_t> sizes(3); read_numbers(sizes); ++read) {
    std::vector<char> bytes(sizes[0]);
    std::vector<char> tokens(sizes[1]);
    std::vector<std::int32_t> expected(std::size_t{7} * sizes[2]);
    if (!read_numbers(bytes) || !read_numbers(tokens) || !read_numbers(expected)) {
      std::cerr << "frame " << read << " is cut off\n";
      return 2;
    }
    const std::string found = difference(tokenizer, {bytes.begin(), bytes.end()},
                                         {tokens.begin(), tokens.end()}, expected);
    if (!found.empty()) std::cout << "{\"place\":" << read << "," << found << "}\n";
  }
  std::cout << "{\"texts\":" << read << "}\n";
  return 0;
}
