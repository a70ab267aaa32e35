// Memory for weights and for what lies between operations.
#pragma once

#include <cstddef>

namespace bert_export::native {

// Zeroed bytes, aligned for every kernel; large ones on huge pages where the system grants them.
class Memory {
 public:
  Memory() = default;
  // Throws std::bad_alloc where there are not so many.
  explicit Memory(std::size_t bytes);
  Memory(Memory&& other) noexcept;
  Memory& operator=(Memory&& other) noexcept;
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  ~Memory();

  void* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  void* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace bert_export::native
