// Runs a bundle's graph: named int64 tensors in, named float32 tensors out.
//
//     run_graph BUNDLE [TARGET] < feeds > outputs
//
// Each line of standard input is an object of `{"shape": [...], "numbers": [...]}` by name; an answer
// is such an object, or one with `error`. Options stand in the environment: VERIFY,
// THREADS, SPINNING, SHRINK, HINT, CACHE, and ROWS and TOKENS of a fixed shape.

#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>

#include "bert_export/errors.hpp"
#include "bundle/integrity.hpp"
#include "bundle/manifest.hpp"
#include "json_writer.hpp"
#include "sessions/opening.hpp"
#include "text/json.hpp"

namespace {

namespace bundle = bert_export::bundle;
namespace sessions = bert_export::sessions;
using bert_export::text::Json;

int environment(const char* name, int otherwise) {
  const char* const value = std::getenv(name);
  return value == nullptr ? otherwise : std::atoi(value);
}

std::string environment(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::vector<std::int64_t> whole_numbers(const Json& json) {
  std::vector<std::int64_t> numbers;
  for (const Json& number : json.array("numbers")) numbers.push_back(number.integer("a number"));
  return numbers;
}

std::string answer(const sessions::Session& session, const std::string& line) {
  sessions::Feeds feeds;
  const Json request = Json::parse(line);
  for (const auto& [name, feed] : request.at("feeds").object("feeds")) {
    feeds[name] = {whole_numbers(feed.at("shape")), whole_numbers(feed.at("numbers"))};
  }
  try {
    std::string answer;
    for (const auto& [name, output] : session.run(feeds)) {
      answer += answer.empty() ? "{" : ",";
      answer += tests::to_json(name) + ":{\"shape\":" + tests::to_json(output.shape) +
                ",\"numbers\":" + tests::to_json(output.numbers) + "}";
    }
    return answer + "}";
  } catch (const bert_export::Error& error) {
    return "{\"error\":" + tests::to_json(error.what()) + "}";
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2 && count != 3) {
    std::cerr << "usage: run_graph BUNDLE [TARGET]\n";
    return 2;
  }
  const std::string folder = arguments[1];
  try {
    const bundle::Manifest manifest = bundle::read_manifest(folder);
    const bundle::EngineRecord& engine =
        count == 3 ? manifest.engine(arguments[2]) : manifest.engine();
    if (environment("VERIFY", 1) != 0) bundle::verify_files(folder, manifest);
    sessions::SessionOptions options;
    options.threads = environment("THREADS", 0);
    options.spinning = environment("SPINNING", 1) != 0;
    options.shrink_arena = environment("SHRINK", 0) != 0;
    options.hint = environment("HINT");
    options.cache = environment("CACHE");
    options.longest = manifest.max_position_embeddings;
    if (environment("ROWS", 0) != 0) {
      options.shapes = {{environment("ROWS", 0), environment("TOKENS", 0)}};
    }
    const auto session = sessions::open_session(folder, engine, options);
    std::cout << "{\"task\":" << tests::to_json(manifest.task) << "}\n";
    for (std::string line; std::getline(std::cin, line);) {
      std::cout << answer(*session, line) << '\n';
    }
  } catch (const bert_export::Error& error) {
    std::cout << "{\"error\":" << tests::to_json(error.what()) << "}\n";
  }
  return 0;
}
