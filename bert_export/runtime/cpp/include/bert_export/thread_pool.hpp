// Threads that several pipelines share.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include "bert_export/visibility.hpp"

namespace bert_export {

// A fixed number of threads; whoever hands it work takes part in it, so that a pool that is busy
// with other callers' work delays nobody for ever. It may be shared by any number of pipelines and
// threads.
class BERT_EXPORT_API ThreadPool {
 public:
  // Starts the threads. Throws InputError where there are to be none.
  explicit ThreadPool(std::size_t threads);
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  // Ends the threads.
  ~ThreadPool();

  std::size_t size() const;

  // Calls `work` with every number below `count`, on the caller's thread and those of the pool, and
  // returns when all are done. Where some throw, that of the lowest number is thrown on.
  void for_each(std::size_t count, const std::function<void(std::size_t)>& work);

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace bert_export
