// Does what is measured, and says how much processor time it took:
//
//     measure overhead BUNDLE TURNS TEXT ENGINE
//                                          per turn: seconds of a call, of its graph within it, and
//                                          of the graph alone; ENGINE is timed_onnxruntime.so
//     measure first BUNDLE TEXT            opens a bundle and answers once
//     measure tokenize|embed BUNDLE FILE   per line of standard input: seconds for all lines of FILE

#include <dlfcn.h>

#include <array>
#include <fstream>
#include <functional>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include "bert_export/errors.hpp"
#include "bert_export/pipelines.hpp"
#include "bundle/manifest.hpp"
#include "clock.hpp"
#include "sessions/onnxruntime_api.hpp"

namespace {

namespace ort = bert_export::sessions::onnxruntime;
namespace bundle = bert_export::bundle;
using bert_export::OpenOptions;

OpenOptions one_thread() {
  OpenOptions options;
  options.threads = 1;
  return options;
}

double seconds(const std::function<void()>& call) {
  const double begin = processor_seconds();
  call();
  return processor_seconds() - begin;
}

void check(const bert_export::sessions::Failure& failure) {
  if (failure) throw bert_export::TargetError("measurement fails", {"", failure.text});
}

// ONNX Runtime itself over the graph of a bundle, with feeds that never change.
class BareSession {
 public:
  BareSession(const std::string& folder, const bundle::EngineRecord& engine,
              const bert_export::Encoded& row)
      : library_(ort::Library::open("")), session_(library_), memory_(library_) {
    ort::OwnedSessionOptions options(library_);
    check(library_.call<ort::CreateSessionOptions>(options.out()));
    check(library_.call<ort::SetSessionGraphOptimizationLevel>(options.get(),
                                                               ort::OptimizationLevel::basic));
    check(library_.call<ort::SetIntraOpNumThreads>(options.get(), 1));
    const std::string path = folder + "/" + engine.graph.file;
    check(library_.call<ort::CreateSession>(library_.env(), path.c_str(), options.get(),
                                            session_.out()));
    check(library_.call<ort::CreateCpuMemoryInfo>(ort::AllocatorType::arena,
                                                  ort::MemoryType::standard, memory_.out()));
    const std::vector<std::int64_t> mask(row.size(), 1);
    feeds_.reserve(engine.graph.inputs.size());
    for (const bundle::TensorSpec& spec : engine.graph.inputs) {
      inputs_.push_back(spec.name);
      feeds_.push_back(spec.name == "input_ids"        ? row.ids
                       : spec.name == "attention_mask" ? mask
                                                       : row.type_ids);
      const std::array<std::int64_t, 2> shape{1, static_cast<std::int64_t>(row.size())};
      ort::OwnedValue value(library_);
      check(library_.call<ort::CreateTensorWithDataAsOrtValue>(
          memory_.get(), static_cast<void*>(feeds_.back().data()),
          feeds_.back().size() * sizeof(std::int64_t), shape.data(), shape.size(),
          ort::ElementType::int64, value.out()));
      values_.push_back(std::move(value));
    }
    for (const bundle::TensorSpec& spec : engine.graph.outputs) outputs_.push_back(spec.name);
  }

  void run() const {
    std::vector<const char*> inputs;
    std::vector<const char*> outputs;
    std::vector<const ort::Value*> values;
    for (const std::string& name : inputs_) inputs.push_back(name.c_str());
    for (const std::string& name : outputs_) outputs.push_back(name.c_str());
    for (const ort::OwnedValue& value : values_) values.push_back(value.get());
    std::vector<ort::Value*> given(outputs.size(), nullptr);
    const ort::RunOptions* const none = nullptr;
    check(library_.call<ort::Run>(session_.get(), none, inputs.data(), values.data(),
                                  values.size(), outputs.data(), given.size(), given.data()));
    for (ort::Value* const value : given) {
      ort::OwnedValue owned(library_);
      *owned.out() = value;
    }
  }

 private:
  const ort::Library& library_;
  ort::OwnedSession session_;
  ort::OwnedMemoryInfo memory_;
  std::vector<std::string> inputs_;
  std::vector<std::string> outputs_;
  std::vector<std::vector<std::int64_t>> feeds_;
  std::vector<ort::OwnedValue> values_;
};

// What the runs of a timed engine took so far.
using TimedSeconds = double (*)();

TimedSeconds timed_seconds_of(const std::string& engine) {
  void* const opened = ::dlopen(engine.c_str(), RTLD_NOW | RTLD_LOCAL);
  void* const found = opened == nullptr ? nullptr : ::dlsym(opened, "timed_seconds");
  if (found == nullptr) throw bert_export::TargetError("engine " + engine + " is not timed");
  return reinterpret_cast<TimedSeconds>(found);
}

template <typename Pipeline>
void overhead(const std::string& folder, int turns, const std::string& text,
              const std::string& engine) {
  const TimedSeconds timed_seconds = timed_seconds_of(engine);
  OpenOptions options = one_thread();
  options.library = engine;
  const Pipeline pipeline = Pipeline::open(folder, options);
  const bundle::Manifest manifest = bundle::read_manifest(folder);
  const bert_export::Encoded row = pipeline.tokenizer().encode(text).front();
  const BareSession bare(folder, manifest.engine("onnxruntime"), row);
  std::cout << row.size() << '\n';
  constexpr int warm_up = 20;
  for (int turn = -warm_up; turn < turns; ++turn) {
    double whole = 0;
    double within = 0;
    double alone = 0;
    const auto call = [&] {
      const double before = timed_seconds();
      whole = seconds([&] { pipeline(text); });
      within = timed_seconds() - before;
    };
    // Mirrored, so that neither always follows the other.
    if (turn % 2 == 0) call();
    alone = seconds([&] { bare.run(); });
    if (turn % 2 != 0) call();
    if (turn >= 0) std::cout << whole << ' ' << within << ' ' << alone << '\n';
  }
}

std::vector<std::string> lines_of(const char* path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

// A measurement per line that is read, so that another process can take turns.
void on_request(const std::function<void()>& call) {
  for (std::string line; std::getline(std::cin, line);) std::cout << seconds(call) << std::endl;
}

int run(const std::vector<std::string>& arguments) {
  const std::string& what = arguments.at(0);
  const std::string& folder = arguments.at(1);
  const std::string task = bundle::read_manifest(folder).task;
  if (what == "overhead") {
    const int turns = std::stoi(arguments.at(2));
    if (task == "token-classification") {
      overhead<bert_export::TokenClassification>(folder, turns, arguments.at(3), arguments.at(4));
    } else {
      overhead<bert_export::TextClassification>(folder, turns, arguments.at(3), arguments.at(4));
    }
  } else if (what == "first") {
    if (task == "token-classification") {
      const auto opened = bert_export::TokenClassification::open(folder, one_thread());
      opened(arguments.at(2));
    } else {
      const auto opened = bert_export::TextClassification::open(folder, one_thread());
      opened(arguments.at(2));
    }
  } else {
    const std::vector<std::string> lines = lines_of(arguments.at(2).c_str());
    if (what == "tokenize") {
      const bundle::Manifest manifest = bundle::read_manifest(folder);
      const auto tokenizer = bert_export::Tokenizer::from_file(
          folder + "/" + manifest.tokenizer.file, manifest.tokenizer);
      on_request([&] {
        for (const std::string& line : lines) tokenizer.encode(line);
      });
    } else {
      const auto embed = bert_export::SentenceEmbedding::open(folder, one_thread());
      const std::vector<std::string_view> texts(lines.begin(), lines.end());
      on_request([&] { embed(texts); });
    }
  }
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 4) {
    std::cerr << "usage: measure overhead|first|tokenize|embed BUNDLE ...\n";
    return 2;
  }
  try {
    std::cout.precision(9);
    return run({arguments + 1, arguments + count});
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
