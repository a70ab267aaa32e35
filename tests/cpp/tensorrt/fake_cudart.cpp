// CUDA's runtime without a GPU: its memory is the host's, and nothing else may be copied to or from.

#include <cuda_runtime_api.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>

namespace {

std::mutex mutex;
std::map<std::uintptr_t, std::size_t> allocated;

bool on_device(const void* place, std::size_t bytes) {
  const std::lock_guard<std::mutex> lock(mutex);
  const auto address = reinterpret_cast<std::uintptr_t>(place);
  const auto next = allocated.upper_bound(address);
  if (next == allocated.begin()) return false;
  const auto& [start, size] = *std::prev(next);
  return address + bytes <= start + size;
}

}  // namespace

struct CUstream_st {};

cudaError_t cudaMalloc(void** place, std::size_t bytes) {
  const char* const most = std::getenv("FAKE_DEVICE_MEMORY");
  if (most != nullptr && bytes > std::strtoull(most, nullptr, 10)) return cudaErrorMemoryAllocation;
  *place = std::malloc(bytes);
  const std::lock_guard<std::mutex> lock(mutex);
  allocated[reinterpret_cast<std::uintptr_t>(*place)] = bytes;
  return cudaSuccess;
}

cudaError_t cudaFree(void* place) {
  const std::lock_guard<std::mutex> lock(mutex);
  if (allocated.erase(reinterpret_cast<std::uintptr_t>(place)) != 1) std::abort();
  std::free(place);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  if (stream == nullptr || !on_device(kind == cudaMemcpyHostToDevice ? to : from, bytes)) std::abort();
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  *stream = new CUstream_st;
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (stream == nullptr) std::abort();
  return cudaSuccess;
}

const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorMemoryAllocation ? "out of memory" : "no error";
}
