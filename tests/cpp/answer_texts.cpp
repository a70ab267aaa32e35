// Answers calls of a bundle's pipeline, one JSON value a line from standard input to standard output:
//
//     answer_texts BUNDLE [TARGET] < calls > answers
//
// A call is an object: `inputs` (a list of texts, pairs of texts as objects, or lists of words) and
// the options of the pipeline by name. An answer is a list per input, or an object with `error`.
// THREADS of the environment is the engine's; 1 without it.

#include <cstdlib>
#include <iostream>
#include <string>

#include "bert_export/errors.hpp"
#include "bert_export/pipelines.hpp"
#include "bundle/manifest.hpp"
#include "json_writer.hpp"
#include "text/json.hpp"

namespace tests {

std::string to_json(const bert_export::Label& label) {
  return "{\"label\":" + to_json(label.label) + ",\"score\":" + to_json(label.score) + "}";
}

std::string to_json(const bert_export::Entity& entity) {
  return "{\"entity\":" + to_json(entity.entity) + ",\"score\":" + to_json(entity.score) +
         ",\"index\":" + to_json(entity.index) + ",\"word\":" + to_json(entity.word) +
         ",\"start\":" + std::to_string(entity.offsets.begin) +
         ",\"end\":" + std::to_string(entity.offsets.end) +
         ",\"bytes\":" + to_json(entity.byte_offsets) + "}";
}

// Found here, since the answers' own namespace has no to_json.
template <typename Answer>
std::string answers_to_json(const std::vector<std::vector<Answer>>& answers) {
  std::string list;
  for (const std::vector<Answer>& own : answers) {
    std::string inner;
    for (const Answer& answer : own) inner += (inner.empty() ? "" : ",") + to_json(answer);
    list += (list.empty() ? "[" : ",[") + inner + "]";
  }
  return "[" + list + "]";
}

}  // namespace tests

namespace {

using bert_export::OpenOptions;
using bert_export::SentenceEmbedding;
using bert_export::SentenceEmbeddingOptions;
using bert_export::Text;
using bert_export::TextClassification;
using bert_export::TextClassificationOptions;
using bert_export::TokenClassification;
using bert_export::TokenClassificationOptions;
using bert_export::Truncation;
using bert_export::text::Json;

std::vector<Text> read_inputs(const Json& call) {
  std::vector<Text> inputs;
  for (const Json& input : call.at("inputs").array("inputs")) {
    if (input.is_string()) {
      inputs.emplace_back(input.string("input"));
    } else if (input.is_object()) {
      inputs.emplace_back(input.at("text").string("text"), input.at("text_pair").string("text_pair"));
    } else {
      std::vector<std::string_view> words;
      for (const Json& word : input.array("words")) words.push_back(word.string("word"));
      inputs.push_back(Text::split(std::move(words)));
    }
  }
  return inputs;
}

std::optional<std::string> optional_string(const Json& call, const char* name) {
  const Json* const found = call.find(name);
  if (found == nullptr) return std::nullopt;
  return found->string(name);
}

std::optional<std::int64_t> optional_whole(const Json& call, const char* name) {
  const Json* const found = call.find(name);
  if (found == nullptr) return std::nullopt;
  return found->is_null() ? bert_export::none : found->integer(name);
}

std::string answer(const TextClassification& pipeline, const Json& call) {
  TextClassificationOptions options;
  options.function_to_apply = optional_string(call, "function_to_apply");
  options.max_length = optional_whole(call, "max_length");
  if (const auto top_k = optional_whole(call, "top_k")) {
    options.top_k = *top_k == bert_export::none ? 0 : static_cast<std::size_t>(*top_k);
  }
  if (const Json* const cuts = call.find("truncation")) {
    options.truncation = cuts->boolean("truncation") ? Truncation::longest_first : Truncation::none;
  }
  return tests::answers_to_json(pipeline(read_inputs(call), options));
}

std::string answer(const TokenClassification& pipeline, const Json& call) {
  TokenClassificationOptions options;
  options.aggregation_strategy = optional_string(call, "aggregation_strategy");
  options.delimiter = optional_string(call, "delimiter");
  options.stride = optional_whole(call, "stride");
  if (const Json* const ignored = call.find("ignore_labels")) {
    options.ignore_labels.emplace();
    for (const Json& label : ignored->array("ignore_labels")) {
      options.ignore_labels->push_back(label.string("label"));
    }
  }
  return tests::answers_to_json(pipeline(read_inputs(call), options));
}

std::string answer(const SentenceEmbedding& pipeline, const Json& call) {
  SentenceEmbeddingOptions options;
  options.prompt = optional_string(call, "prompt");
  options.prompt_name = optional_string(call, "prompt_name");
  if (const Json* const scaled = call.find("normalize")) {
    options.normalize = scaled->boolean("normalize");
  }
  if (const auto kept = optional_whole(call, "truncate_dim")) {
    options.truncate_dim = static_cast<std::size_t>(*kept);
  }
  std::vector<std::string_view> texts;
  for (const Json& text : call.at("inputs").array("inputs")) texts.push_back(text.string("text"));
  return tests::to_json(pipeline(texts, options));
}

template <typename Pipeline>
void answer_all(const Pipeline& pipeline) {
  for (std::string line; std::getline(std::cin, line);) {
    const Json call = Json::parse(line);
    try {
      std::cout << answer(pipeline, call) << '\n';
    } catch (const bert_export::Error& error) {
      std::cout << "{\"error\":" << tests::to_json(error.what()) << "}\n";
    }
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2 && count != 3) {
    std::cerr << "usage: answer_texts BUNDLE [TARGET]\n";
    return 2;
  }
  const std::string folder = arguments[1];
  try {
    OpenOptions options;
    const char* const threads = std::getenv("THREADS");
    options.threads = threads == nullptr ? 1 : std::atoi(threads);
    if (count == 3) options.target = arguments[2];
    const std::string task = bert_export::bundle::read_manifest(folder).task;
    if (task == "token-classification") {
      answer_all(TokenClassification::open(folder, options));
    } else if (task == "sentence-embedding") {
      answer_all(SentenceEmbedding::open(folder, options));
    } else {
      answer_all(TextClassification::open(folder, options));
    }
  } catch (const bert_export::Error& error) {
    std::cout << "{\"error\":" << tests::to_json(error.what()) << "}\n";
  }
  return 0;
}
