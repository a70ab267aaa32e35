// Objects of an engine's C interface.
#pragma once

namespace bert_export::sessions {

// An object of a library, which `Free` gives back at the end of its scope.
template <typename Library, typename Object, typename Free>
class Owned {
 public:
  explicit Owned(const Library& library) : library_(&library) {}
  Owned(Owned&& other) noexcept : library_(other.library_), object_(other.object_) {
    other.object_ = nullptr;
  }
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  Owned& operator=(Owned&&) = delete;
  ~Owned() {
    if (object_ != nullptr) Free{}(*library_, object_);
  }

  Object* get() const { return object_; }
  // Where a function of the library puts a new object.
  Object** out() { return &object_; }

 private:
  const Library* library_;
  Object* object_ = nullptr;
};

}  // namespace bert_export::sessions
