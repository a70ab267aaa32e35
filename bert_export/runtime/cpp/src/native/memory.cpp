#include "native/memory.hpp"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "native/kernels.hpp"

namespace bert_export::native {
namespace {

constexpr std::size_t line = 64;
constexpr std::size_t huge_page = std::size_t{2} << 20U;

}  // namespace

Memory::Memory(std::size_t bytes) : size_(bytes) {
  if (bytes == 0) return;
  const std::size_t alignment = bytes >= huge_page ? huge_page : line;
  const std::size_t whole = rounded_up(bytes, line);
  if (::posix_memalign(&data_, alignment, whole) != 0) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
  // Refused on some systems: then the pages are small ones.
  if (bytes >= huge_page) ::madvise(data_, whole, MADV_HUGEPAGE);
#endif
  std::memset(data_, 0, whole);
}

Memory::Memory(Memory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

Memory& Memory::operator=(Memory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

Memory::~Memory() { std::free(data_); }

}  // namespace bert_export::native
