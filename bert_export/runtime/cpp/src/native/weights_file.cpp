#include "native/weights_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "bert_export/errors.hpp"

namespace bert_export::native {
namespace {

[[noreturn]] void unreadable(const std::string& path, const std::string& why) {
  throw BundleError("weights " + path + " cannot be read", {"a readable file", why});
}

}  // namespace

WeightsFile::WeightsFile(const std::string& path) {
  // A pipe would be waited for.
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) unreadable(path, std::strerror(errno));
  struct stat status {};
  std::string wrong;
  if (::fstat(file, &status) != 0) {
    wrong = std::strerror(errno);
  } else if (!S_ISREG(status.st_mode)) {
    wrong = "no regular file";
  } else {
    size_ = static_cast<std::size_t>(status.st_size);
    void* const mapped = size_ == 0 ? nullptr : ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
    if (mapped == MAP_FAILED) wrong = std::strerror(errno);
    else data_ = static_cast<const unsigned char*>(mapped);
  }
  ::close(file);
  if (!wrong.empty()) unreadable(path, wrong);
}

WeightsFile::~WeightsFile() {
  if (data_ != nullptr) ::munmap(const_cast<unsigned char*>(data_), size_);
}

void WeightsFile::forget(const Tensor& tensor) const {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t first = tensor.offset / page * page;
  const std::size_t last = rounded_up(tensor.offset + tensor.bytes(), page);
  ::madvise(const_cast<unsigned char*>(data_) + first, last - first, MADV_DONTNEED);
}

}  // namespace bert_export::native
