#include "sessions/tensorrt_api.hpp"

#include <dlfcn.h>

#include <type_traits>

#include "bert_export/errors.hpp"
#include "sessions/library_search.hpp"
#include "sessions/versions.hpp"
#include "text/printing.hpp"

namespace bert_export::sessions::tensorrt {
namespace {

#ifdef TRT_MAJOR_RTX
constexpr const char* oldest = oldest_tensorrt_rtx;
const EngineLibrary& engine() {
  static const EngineLibrary library{target_name, "BERT_EXPORT_TENSORRT_RTX", "tensorrt_rtx_libs",
                                     "libtensorrt_rtx.so", {"libtensorrt_rtx.so.1",
                                                            "libtensorrt_rtx.so"}};
  return library;
}
#else
constexpr const char* oldest = oldest_tensorrt;
const EngineLibrary& engine() {
  static const EngineLibrary library{target_name, "BERT_EXPORT_TENSORRT", "tensorrt_libs",
                                     "libnvinfer.so", {"libnvinfer.so.11", "libnvinfer.so"}};
  return library;
}
#endif

const EngineLibrary& cuda_runtime() {
  static const EngineLibrary library{"nvidia-cuda-runtime", "BERT_EXPORT_CUDART", "nvidia/*/lib",
                                     "libcudart.so", {"libcudart.so.13", "libcudart.so.12",
                                                      "libcudart.so"}};
  return library;
}

template <typename Function>
void find(void* library, const char* package, const char* name, Function& function) {
  function = reinterpret_cast<Function>(::dlsym(library, name));
  if (function != nullptr) return;
  throw TargetError(std::string("library of ") + package + " is another",
                    {std::string("one with ") + name, std::string("a library without ") + name});
}

// The version of the library itself: the headers may be of another.
std::string version_of(void* library) {
  std::string version;
  for (const char* const part : {"Major", "Minor", "Patch"}) {
    int (*get)() = nullptr;
    const std::string name = std::string("getInferLib") + part + "Version";
    find(library, target_name, name.c_str(), get);
    version += (version.empty() ? "" : ".") + std::to_string(get());
  }
  return version;
}

}  // namespace

void Log::log(Severity severity, const char* message) noexcept {
  if (severity > Severity::kERROR) return;
  try {
    const std::lock_guard<std::mutex> lock(mutex_);
    last_ = text::one_line(message);
  } catch (...) {
    // Without memory for the message nothing better can be said of the failure.
  }
}

std::string Log::take() {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::string said = std::move(last_);
  last_.clear();
  return said.empty() ? "an error without words" : said;
}

void Cuda::check(cudaError_t error, const char* what) const {
  if (error == cudaSuccess) return;
  throw TargetError(std::string("CUDA cannot ") + what,
                    {"an NVIDIA GPU with memory to spare", text::one_line(error_string(error))});
}

Library::Library(const std::string& asked) {
  void* const cuda = open_library(cuda_runtime(), "");
  const auto find_cuda = [&](const char* name, auto& function) {
    find(cuda, cuda_runtime().package, name, function);
  };
  find_cuda("cudaMalloc", cuda_.allocate);
  find_cuda("cudaFree", cuda_.release);
  find_cuda("cudaMemcpyAsync", cuda_.copy);
  find_cuda("cudaStreamCreate", cuda_.create_stream);
  find_cuda("cudaStreamDestroy", cuda_.destroy_stream);
  find_cuda("cudaStreamSynchronize", cuda_.synchronize);
  find_cuda("cudaGetErrorString", cuda_.error_string);

  void* const library = open_library(engine(), asked);
  const std::string version = version_of(library);
  check_version(target_name, oldest, version);
  // What the headers' own createInferRuntime calls; it refuses headers of another version.
  void* (*create)(void* logger, std::int32_t version) = nullptr;
  find(library, target_name, "createInferRuntime_INTERNAL", create);
  nvinfer1::ILogger* const logger = &log_;
  runtime_.reset(static_cast<nvinfer1::IRuntime*>(create(logger, NV_TENSORRT_VERSION)));
  if (runtime_ == nullptr) {
    throw TargetError(std::string("engine ") + target_name + " " + version + " cannot start",
                      {"an NVIDIA GPU, and the version whose headers this library was built with",
                       log_.take()});
  }
}

Library& Library::open(const std::string& asked) {
  return opened_once<Library>(asked, [&] { return new Library(asked); });
}

DeviceBuffer::DeviceBuffer(DeviceBuffer&& other) noexcept
    : cuda_(other.cuda_), data_(other.data_), bytes_(other.bytes_) {
  other.data_ = nullptr;
  other.bytes_ = 0;
}

DeviceBuffer::~DeviceBuffer() {
  if (data_ != nullptr) cuda_->release(data_);
}

void* DeviceBuffer::reserve(std::size_t bytes) {
  if (data_ != nullptr && bytes <= bytes_) return data_;
  if (data_ != nullptr) cuda_->release(data_);
  data_ = nullptr;
  bytes_ = 0;
  // An empty tensor too needs an address.
  const std::size_t least = bytes == 0 ? 1 : bytes;
  cuda_->check(cuda_->allocate(&data_, least), "allocate memory");
  bytes_ = least;
  return data_;
}

Stream::Stream(const Cuda& cuda) : cuda_(&cuda) {
  cuda_->check(cuda_->create_stream(&stream_), "create a stream");
}

Stream::~Stream() {
  if (stream_ != nullptr) cuda_->destroy_stream(stream_);
}

}  // namespace bert_export::sessions::tensorrt
