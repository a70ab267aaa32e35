// The weights of a bundle, read where they lie on disk.
#pragma once

#include <cstddef>
#include <string>

#include "native/program_file.hpp"

namespace bert_export::native {

class WeightsFile {
 public:
  // Throws BundleError where it cannot be read.
  explicit WeightsFile(const std::string& path);
  WeightsFile(const WeightsFile&) = delete;
  WeightsFile& operator=(const WeightsFile&) = delete;
  ~WeightsFile();

  std::size_t size() const { return size_; }

  const float* floats(const Tensor& tensor) const {
    return reinterpret_cast<const float*>(data_ + tensor.offset);
  }
  const std::int8_t* integers(const Tensor& tensor) const {
    return reinterpret_cast<const std::int8_t*>(data_ + tensor.offset);
  }
  // Gives back the memory of a tensor that was copied; it is read from the disk if it is used again.
  void forget(const Tensor& tensor) const;

 private:
  const unsigned char* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace bert_export::native
