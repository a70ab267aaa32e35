#include "bert_export/thread_pool.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "bert_export/errors.hpp"

namespace bert_export {
namespace {

// The work of one call of for_each. Threads may look at it after the call has returned, and then
// find no number left.
struct Loop {
  Loop(std::size_t numbers, const std::function<void(std::size_t)>& each)
      : count(numbers), work(each) {}

  // Takes numbers until none is left.
  void run() {
    for (std::size_t number = next++; number < count; number = next++) {
      std::exception_ptr error;
      try {
        work(number);
      } catch (...) {
        error = std::current_exception();
      }
      const std::lock_guard<std::mutex> lock(mutex);
      if (error && number < first_failed) {
        first_failed = number;
        failure = error;
      }
      if (++done == count) finished.notify_all();
    }
  }

  void wait() {
    std::unique_lock<std::mutex> lock(mutex);
    finished.wait(lock, [this] { return done == count; });
  }

  const std::size_t count;
  // The caller's, who waits until every number is done.
  const std::function<void(std::size_t)>& work;
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::condition_variable finished;
  std::size_t done = 0;
  std::size_t first_failed = static_cast<std::size_t>(-1);
  std::exception_ptr failure;
};

}  // namespace

struct ThreadPool::Parts {
  explicit Parts(std::size_t count) {
    try {
      for (std::size_t index = 0; index < count; ++index) threads.emplace_back([this] { serve(); });
    } catch (...) {
      stop();
      throw;
    }
  }
  Parts(const Parts&) = delete;
  Parts& operator=(const Parts&) = delete;
  ~Parts() { stop(); }

  void serve() {
    for (;;) {
      std::shared_ptr<Loop> loop;
      {
        std::unique_lock<std::mutex> lock(mutex);
        changed.wait(lock, [this] { return stopping || !waiting.empty(); });
        if (waiting.empty()) return;
        loop = std::move(waiting.front());
        waiting.pop_front();
      }
      loop->run();
    }
  }

  void stop() {
    {
      const std::lock_guard<std::mutex> lock(mutex);
      stopping = true;
    }
    changed.notify_all();
    for (std::thread& thread : threads) thread.join();
  }

  // Asks so many threads to take part in a loop.
  void invite(const std::shared_ptr<Loop>& loop, std::size_t helpers) {
    {
      const std::lock_guard<std::mutex> lock(mutex);
      waiting.insert(waiting.end(), helpers, loop);
    }
    changed.notify_all();
  }

  std::mutex mutex;
  std::condition_variable changed;
  bool stopping = false;
  std::deque<std::shared_ptr<Loop>> waiting;
  std::vector<std::thread> threads;
};

ThreadPool::ThreadPool(std::size_t threads) {
  if (threads == 0) throw InputError("threads of a pool are wrong", {"at least 1", "0"});
  parts_ = std::make_unique<Parts>(threads);
}

ThreadPool::~ThreadPool() = default;

std::size_t ThreadPool::size() const { return parts_->threads.size(); }

void ThreadPool::for_each(std::size_t count, const std::function<void(std::size_t)>& work) {
  if (count == 0) return;
  const auto loop = std::make_shared<Loop>(count, work);
  if (count > 1) parts_->invite(loop, std::min(count - 1, size()));
  loop->run();
  loop->wait();
  if (loop->failure) std::rethrow_exception(loop->failure);
}

}  // namespace bert_export
