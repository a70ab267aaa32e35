// ONNX Runtime as a library whose runs are timed: all its functions, but Run reads the clock before
// and after. The library itself is the file that the environment variable TIMED_ONNXRUNTIME names.

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "clock.hpp"
#include "sessions/onnxruntime_api.hpp"

namespace {

namespace ort = bert_export::sessions::onnxruntime;

struct ApiBase {
  const ort::Function* (*get_api)(std::uint32_t version);
  const char* (*get_version)();
};

// The last place of the table that the runtime reads.
constexpr std::size_t table_size = ort::AddRunConfigEntry::place + 1;

std::array<ort::Function, table_size> table;
ort::Run::Pointer run_itself;
double seconds_of_runs = 0;

const ApiBase& library() {
  static const ApiBase& base = []() -> const ApiBase& {
    const char* const path = std::getenv("TIMED_ONNXRUNTIME");
    void* const opened = path == nullptr ? nullptr : ::dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (opened == nullptr) std::abort();
    return *reinterpret_cast<const ApiBase* (*)()>(::dlsym(opened, "OrtGetApiBase"))();
  }();
  return base;
}

ort::Status* run_timed(ort::SessionHandle* session, const ort::RunOptions* options,
                       const char* const* inputs, const ort::Value* const* values,
                       std::size_t input_count, const char* const* outputs,
                       std::size_t output_count, ort::Value** given) {
  const double begin = processor_seconds();
  ort::Status* const status =
      run_itself(session, options, inputs, values, input_count, outputs, output_count, given);
  seconds_of_runs += processor_seconds() - begin;
  return status;
}

const ort::Function* timed_api(std::uint32_t version) {
  const ort::Function* const itself = library().get_api(version);
  if (itself == nullptr) return nullptr;
  std::copy(itself, itself + table_size, table.begin());
  run_itself = reinterpret_cast<ort::Run::Pointer>(table[ort::Run::place]);
  table[ort::Run::place] = reinterpret_cast<ort::Function>(&run_timed);
  return table.data();
}

const char* library_version() { return library().get_version(); }

}  // namespace

extern "C" __attribute__((visibility("default"))) const ApiBase* OrtGetApiBase() {
  static const ApiBase base{&timed_api, &library_version};
  return &base;
}

extern "C" __attribute__((visibility("default"))) double timed_seconds() { return seconds_of_runs; }
