// Answers requests to a tokenizer, one JSON value a line from standard input to standard output:
//
//     answer_requests tokenizer.json record.json < requests > answers
//
// A request is an object: `text` (a string, or a list of words) with perhaps `pair`, and the options
// of an encoding; or `decode` (ids) with `skip_special_tokens` and `clean_up`. An answer is a list of
// rows, a text, or an object with `error`.

#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <string>

#include "bert_export/errors.hpp"
#include "bert_export/tokenizer.hpp"
#include "bundle/manifest.hpp"
#include "json_writer.hpp"
#include "text/json.hpp"

namespace {

using bert_export::EncodeOptions;
using bert_export::Text;
using bert_export::Tokenizer;
using bert_export::TokenizerRecord;
using bert_export::Truncation;
using bert_export::text::Json;

std::string read_file(const char* path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

EncodeOptions read_options(const Json& request) {
  static const std::map<std::string, Truncation> truncations = {
      {"longest_first", Truncation::longest_first},
      {"only_first", Truncation::only_first},
      {"only_second", Truncation::only_second},
      {"none", Truncation::none},
  };
  EncodeOptions options;
  if (const Json* length = request.find("max_length")) options.max_length = length->integer("");
  if (const Json* name = request.find("truncation")) {
    options.truncation = truncations.at(name->string(""));
  }
  if (const Json* stride = request.find("stride")) options.stride = stride->integer("");
  if (const Json* windows = request.find("windows")) options.windows = windows->boolean("");
  if (const Json* special = request.find("add_special_tokens")) {
    options.add_special_tokens = special->boolean("");
  }
  return options;
}

std::string encode(const Tokenizer& tokenizer, const Json& request) {
  const EncodeOptions options = read_options(request);
  const Json& text = request.at("text");
  if (text.is_array()) {
    std::vector<std::string_view> words;
    for (const Json& word : text.array("text")) words.push_back(word.string("word"));
    return tests::to_json(tokenizer.encode(Text::split(words), options));
  }
  const std::string& first = text.string("text");
  if (const Json* pair = request.find("pair")) {
    return tests::to_json(tokenizer.encode({first, pair->string("pair")}, options));
  }
  return tests::to_json(tokenizer.encode(first, options));
}

std::string decode(const Tokenizer& tokenizer, const Json& request) {
  std::vector<std::int64_t> ids;
  for (const Json& id : request.at("decode").array("decode")) ids.push_back(id.integer("id"));
  return tests::to_json(tokenizer.decode(ids, request.at("skip_special_tokens").boolean(""),
                                         request.at("clean_up").boolean("")));
}

std::string answer(const Tokenizer& tokenizer, const std::string& line) {
  const Json request = Json::parse(line);
  try {
    if (request.find("decode") != nullptr) return decode(tokenizer, request);
    return encode(tokenizer, request);
  } catch (const bert_export::Error& error) {
    return "{\"error\":" + tests::to_json(error.what()) + "}";
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) {
    std::cerr << "usage: answer_requests tokenizer.json record.json\n";
    return 2;
  }
  std::ios::sync_with_stdio(false);
  try {
    const TokenizerRecord record =
        bert_export::bundle::read_tokenizer(Json::parse(read_file(arguments[2])));
    const Tokenizer tokenizer = Tokenizer::from_file(arguments[1], record);
    std::cout << "{\"vocab_size\":" << tokenizer.vocab_size() << "}\n";
    for (std::string line; std::getline(std::cin, line);) {
      std::cout << answer(tokenizer, line) << '\n';
    }
  } catch (const bert_export::Error& error) {
    std::cout << "{\"error\":" << tests::to_json(error.what()) << "}\n";
  }
  return 0;
}
