#include "sessions/onnxruntime_api.hpp"

#include <dlfcn.h>

#include <cstdlib>

#include "bert_export/errors.hpp"
#include "sessions/library_search.hpp"
#include "sessions/versions.hpp"
#include "text/printing.hpp"

namespace bert_export::sessions::onnxruntime {
namespace {

// What the only function that the library shows by name gives.
struct ApiBase {
  const Function* (*get_api)(std::uint32_t version);
  const char* (*get_version)();
};

const EngineLibrary& engine() {
  static const EngineLibrary library{"onnxruntime", "BERT_EXPORT_ONNXRUNTIME", "onnxruntime/capi",
                                     "libonnxruntime.so",
                                     {"libonnxruntime.so.1", "libonnxruntime.so"}};
  return library;
}

}  // namespace

Library::Library(const std::string& asked) {
  // Its telemetry reads this once, when it is loaded, and no later call stops it. What is set stays.
  ::setenv("ORT_DISABLE_TELEMETRY", "1", 0);
  void* const library = open_library(engine(), asked);
  using GetApiBase = const ApiBase* (*)();
  const auto get_base = reinterpret_cast<GetApiBase>(::dlsym(library, "OrtGetApiBase"));
  if (get_base == nullptr) {
    throw TargetError("library " + (asked.empty() ? engine().package : asked) + " is another",
                      {"ONNX Runtime", "a library without OrtGetApiBase"});
  }
  const ApiBase* const base = get_base();
  version_ = base->get_version();
  check_version(engine().package, oldest_onnxruntime, version_);
  table_ = base->get_api(api_version);
  if (table_ == nullptr) {
    throw TargetError("library of onnxruntime " + version_ + " is another",
                      {"one with version " + std::to_string(api_version) + " of its interface",
                       "none"});
  }
  if (const Failure failure = call<CreateEnv>(LoggingLevel::fatal, "bert_export", &env_)) {
    throw TargetError("engine onnxruntime " + version_ + " cannot start", {"", failure.text});
  }
  call<DisableTelemetryEvents>(env_);
}

const Library& Library::open(const std::string& asked) {
  return opened_once<Library>(asked, [&] { return new Library(asked); });
}

Failure Library::failure_of(Status* status) const {
  if (status == nullptr) return {};
  Failure failure{text::one_line(function<GetErrorMessage>()(status))};
  function<ReleaseStatus>()(status);
  if (!failure) failure.text = "an error without words";
  return failure;
}

}  // namespace bert_export::sessions::onnxruntime
