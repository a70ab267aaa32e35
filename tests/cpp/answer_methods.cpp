// Answers what the pipelines have besides a call, one JSON value a line:
//
//     answer_methods BUNDLE < requests > answers
//
// A request is an object with `method`, its arguments and its options under their names in Python. An
// answer is a list of numbers, of lists of them, or of a document's place and score; or an object with
// `error`.

#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include "bert_export/errors.hpp"
#include "bert_export/pipelines.hpp"
#include "json_writer.hpp"
#include "text/json.hpp"

namespace {

using bert_export::PredictOptions;
using bert_export::SentenceEmbedding;
using bert_export::SentenceEmbeddingOptions;
using bert_export::Text;
using bert_export::TextClassification;
using bert_export::text::Json;

std::optional<std::size_t> read_size(const Json& request, const char* name) {
  const Json* const value = request.find(name);
  if (value == nullptr) return std::nullopt;
  return static_cast<std::size_t>(value->integer(name));
}

std::vector<std::string_view> read_texts(const Json& request, const char* name) {
  std::vector<std::string_view> texts;
  for (const Json& text : request.at(name).array(name)) texts.push_back(text.string("text"));
  return texts;
}

std::vector<Text> read_pairs(const Json& request) {
  std::vector<Text> pairs;
  for (const Json& each : request.at("sentences").array("sentences")) {
    const std::vector<Json>& pair = each.array("pair");
    pairs.emplace_back(pair.at(0).string("text"), pair.at(1).string("text_pair"));
  }
  return pairs;
}

std::string answer(const TextClassification& pipeline, const Json& request) {
  PredictOptions options;
  if (const Json* name = request.find("activation_fn")) options.activation_fn = name->string("");
  if (const Json* flag = request.find("apply_softmax")) options.apply_softmax = flag->boolean("");
  options.batch_size = read_size(request, "batch_size");
  if (request.at("method").string("method") == "predict") {
    return tests::to_json(pipeline.predict(read_pairs(request), options));
  }
  std::string list;
  for (const bert_export::Ranked& ranked :
       pipeline.rank(request.at("query").string("query"), read_texts(request, "documents"),
                     read_size(request, "top_k"), options)) {
    list += (list.empty() ? "[" : ",[") + std::to_string(ranked.corpus_id) + "," +
            tests::to_json(ranked.score) + "]";
  }
  return "[" + list + "]";
}

std::string answer(const SentenceEmbedding& pipeline, const Json& request) {
  const std::string& method = request.at("method").string("method");
  SentenceEmbeddingOptions options;
  if (const Json* text = request.find("prompt")) options.prompt = text->string("");
  if (const Json* name = request.find("prompt_name")) options.prompt_name = name->string("");
  if (const Json* flag = request.find("normalize_embeddings")) {
    options.normalize = flag->boolean("");
  }
  options.truncate_dim = read_size(request, "truncate_dim");
  options.batch_size = read_size(request, "batch_size");
  const std::vector<std::string_view> texts = read_texts(request, "texts");
  if (method == "encode_query") return tests::to_json(pipeline.encode_query(texts, options));
  if (method == "encode_document") return tests::to_json(pipeline.encode_document(texts, options));
  if (method == "encode") return tests::to_json(pipeline(texts, options));
  // Every vector with every other.
  const std::vector<std::vector<float>> vectors = pipeline(texts, options);
  std::vector<std::vector<double>> likeness;
  for (const std::vector<float>& left : vectors) {
    likeness.emplace_back();
    for (const std::vector<float>& right : vectors) {
      likeness.back().push_back(pipeline.similarity(left, right));
    }
  }
  return tests::to_json(likeness);
}

template <typename Pipeline>
std::string answer(const Pipeline&, const Json&) {
  throw bert_export::InputError("pipeline has no methods");
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) {
    std::cerr << "usage: answer_methods BUNDLE\n";
    return 2;
  }
  bert_export::OpenOptions options;
  options.threads = 1;
  const bert_export::AnyPipeline pipeline = bert_export::open(arguments[1], options);
  for (std::string line; std::getline(std::cin, line);) {
    try {
      const Json request = Json::parse(line);
      std::cout << std::visit([&](const auto& own) { return answer(own, request); }, pipeline)
                << '\n';
    } catch (const bert_export::Error& error) {
      std::cout << "{\"error\":" << tests::to_json(error.what()) << "}\n";
    }
  }
  return 0;
}
