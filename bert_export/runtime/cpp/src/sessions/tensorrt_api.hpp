// TensorRT's and CUDA's libraries, opened at run time and declared by the headers that the build was
// given. Compiled only with BERT_EXPORT_TENSORRT; see CMakeLists.txt.
#pragma once

#include <NvInferRuntime.h>
#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "sessions/session.hpp"

namespace bert_export::sessions::tensorrt {

// Which of the two products the headers are of: each opens its own engines only.
#ifdef TRT_MAJOR_RTX
inline constexpr const char* target_name = "tensorrt-rtx";
#else
inline constexpr const char* target_name = "tensorrt";
#endif

// What TensorRT last said was wrong. It logs from any thread.
class Log : public nvinfer1::ILogger {
 public:
  void log(Severity severity, const char* message) noexcept override;
  // On one line; an error without words where it said nothing. The next error starts anew.
  std::string take();

 private:
  std::mutex mutex_;
  std::string last_;
};

// CUDA's functions, found by name.
struct Cuda {
  decltype(&cudaMalloc) allocate = nullptr;
  decltype(&cudaFree) release = nullptr;
  decltype(&cudaMemcpyAsync) copy = nullptr;
  decltype(&cudaStreamCreate) create_stream = nullptr;
  decltype(&cudaStreamDestroy) destroy_stream = nullptr;
  decltype(&cudaStreamSynchronize) synchronize = nullptr;
  decltype(&cudaGetErrorString) error_string = nullptr;

  // Throws TargetError where CUDA could not do `what`.
  void check(cudaError_t error, const char* what) const;
};

// One of each in a process.
class Library {
 public:
  // Opens it, or gives the one that is open. Throws TargetError where TensorRT or CUDA is not
  // installed, is too old, or finds no GPU.
  static Library& open(const std::string& asked);

  const Cuda& cuda() const { return cuda_; }
  nvinfer1::IRuntime& runtime() { return *runtime_; }
  Log& log() { return log_; }

 private:
  explicit Library(const std::string& asked);

  Log log_;
  Cuda cuda_;
  std::unique_ptr<nvinfer1::IRuntime> runtime_;
};

// Memory of the GPU that grows with what it is asked to hold.
class DeviceBuffer {
 public:
  explicit DeviceBuffer(const Cuda& cuda) : cuda_(&cuda) {}
  DeviceBuffer(DeviceBuffer&& other) noexcept;
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(DeviceBuffer&&) = delete;
  ~DeviceBuffer();

  // At least so many bytes; what it held may be lost. Throws TargetError where memory runs out.
  void* reserve(std::size_t bytes);
  void* get() const { return data_; }

 private:
  const Cuda* cuda_;
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

// A queue of work for the GPU.
class Stream {
 public:
  explicit Stream(const Cuda& cuda);
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream();

  cudaStream_t get() const { return stream_; }

 private:
  const Cuda* cuda_;
  cudaStream_t stream_ = nullptr;
};

}  // namespace bert_export::sessions::tensorrt
