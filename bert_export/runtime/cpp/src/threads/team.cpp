#include "threads/team.hpp"

#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

namespace bert_export {
namespace {

// About 20 microseconds.
constexpr int most_spins = 500;

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

std::atomic<std::size_t>& fork_count() {
  static std::atomic<std::size_t> count{0};
  return count;
}

// The teams in use. Never destroyed, and made anew in a child: whoever held its lock is not there.
struct Registry {
  std::mutex mutex;
  std::map<std::size_t, std::weak_ptr<Team>> teams;
};

std::atomic<Registry*>& registry() {
  static std::atomic<Registry*> current{new Registry};
  return current;
}

void begin_child() {
  fork_count().fetch_add(1);
  registry().store(new Registry);
}

void watch_forks() {
  static const int watched = ::pthread_atfork(nullptr, nullptr, begin_child);
  (void)watched;
}

// Waits until ready() holds: spinning first, then asleep until whoever changes it calls `wake`.
class Sleepers {
 public:
  template <typename Ready>
  void wait(Ready ready) {
    for (int spin = 0; spin < most_spins; ++spin) {
      if (ready()) return;
      relax();
    }
    std::unique_lock<std::mutex> lock(mutex_);
    sleeping_.fetch_add(1);
    changed_.wait(lock, ready);
    sleeping_.fetch_sub(1);
  }

  // After the change. Both sides order their two steps: either this sees the sleeper, or the sleeper
  // sees the change.
  void wake() {
    if (sleeping_.load() == 0) return;
    { const std::lock_guard<std::mutex> lock(mutex_); }
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<int> sleeping_{0};
};

}  // namespace

struct Team::Parts {
  // A ticket holds the number of the loop in its upper half, and the next part in its lower one.
  static constexpr std::uint64_t loop_step = std::uint64_t{1} << 32U;
  static constexpr std::uint64_t closed = loop_step - 1;

  explicit Parts(std::size_t size) : forks(current_forks()) {
    try {
      for (std::size_t slot = 1; slot < size; ++slot) {
        threads.emplace_back([this, slot] { serve(slot); });
      }
    } catch (...) {
      stop();
      throw;
    }
  }

  void serve(std::size_t slot) {
    std::uint64_t seen = 0;
    for (;;) {
      members.wait([&] { return stopping.load() || ticket.load() / loop_step != seen; });
      if (stopping.load()) return;
      const std::uint64_t at = ticket.load();
      if (at % loop_step == closed) {  // the next loop is being written
        relax();
        continue;
      }
      seen = at / loop_step;
      take_parts(seen, slot);
    }
  }

  // Does parts of a loop until none is left. A ticket that is taken proves that the loop still runs,
  // and so that what was read of it is its own.
  void take_parts(std::uint64_t loop, std::size_t slot) {
    std::uint64_t at = ticket.load();
    for (;;) {
      const std::uint64_t part = at % loop_step;
      const std::size_t parts = count.load();
      const void* const own = context.load();
      const Hold::Call work = call.load();
      if (at / loop_step != loop || part >= parts) return;
      if (!ticket.compare_exchange_weak(at, at + 1)) continue;
      work(own, part, slot);
      at = ticket.load();
      if (done.fetch_add(1) + 1 == parts) caller.wake();
    }
  }

  void stop() {
    stopping.store(true);
    members.wake();
    for (std::thread& thread : threads) thread.join();
  }

  std::size_t forks;
  std::atomic<bool> busy{false};
  std::atomic<bool> stopping{false};
  std::atomic<std::uint64_t> ticket{0};
  std::atomic<std::size_t> count{0};
  std::atomic<const void*> context{nullptr};
  std::atomic<Hold::Call> call{nullptr};
  std::atomic<std::size_t> done{0};
  Sleepers members;
  Sleepers caller;
  std::vector<std::thread> threads;
};

Team::Team(std::size_t threads) : parts_(std::make_unique<Parts>(threads)) {}

Team::~Team() {
  // In a child the threads are not there to be joined, and their memory is left alone.
  if (parts_->forks != current_forks()) {
    parts_.release();  // NOLINT(bugprone-unused-return-value)
    return;
  }
  parts_->stop();
}

std::size_t Team::current_forks() {
  watch_forks();
  return fork_count().load();
}

std::shared_ptr<Team> Team::shared(std::size_t threads) {
  Registry& own = *registry().load();
  const std::lock_guard<std::mutex> lock(own.mutex);
  std::weak_ptr<Team>& known = own.teams[threads];
  std::shared_ptr<Team> team = known.lock();
  if (team == nullptr) {
    team.reset(new Team(threads == 0 ? 1 : threads));
    known = team;
  }
  return team;
}

Team::Hold::Hold(Team& team) : team_(team), held_(false) {
  if (team.parts_->threads.empty()) return;
  bool free = false;
  held_ = team.parts_->busy.compare_exchange_strong(free, true);
}

Team::Hold::~Hold() {
  if (held_) team_.parts_->busy.store(false);
}

std::size_t Team::Hold::size() const { return held_ ? team_.parts_->threads.size() + 1 : 1; }

void Team::Hold::share(std::size_t count, const void* context, Call call) {
  Parts& parts = *team_.parts_;
  // Nobody takes a ticket while the loop is written.
  const std::uint64_t loop = parts.ticket.load() / Parts::loop_step + 1;
  parts.ticket.store(loop * Parts::loop_step + Parts::closed);
  parts.count.store(count);
  parts.context.store(context);
  parts.call.store(call);
  parts.done.store(0);
  parts.ticket.store(loop * Parts::loop_step);
  parts.members.wake();
  parts.take_parts(loop, 0);
  parts.caller.wait([&] { return parts.done.load() == count; });
}

}  // namespace bert_export
