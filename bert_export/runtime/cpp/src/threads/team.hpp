// Threads that do the parts of one call together, and start within a microsecond.
#pragma once

#include <cstddef>
#include <memory>

namespace bert_export {

// Calls of one process with the same number of threads share a team, so that several pipelines do not
// start more threads than one. A call that finds its team at work does its parts alone.
//
// Members that wait spin for some microseconds and sleep then: on a virtual machine whose processors
// do not run at the same time, longer spinning takes the time of those who work.
class Team {
 public:
  // The process's team of so many threads, the caller among them; at least 1. After a fork it is a new
  // one, for threads do not follow into the child.
  static std::shared_ptr<Team> shared(std::size_t threads);

  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;
  ~Team();

  // Forks that led to this process: what was made under another count has lost its threads.
  static std::size_t current_forks();

  // A call's hold on the team, or on its own thread alone where another call has it.
  class Hold {
   public:
    explicit Hold(Team& team);
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;
    ~Hold();

    // Threads that take part; their slots are the numbers below.
    std::size_t size() const;

    // Calls work(part, slot) with every part below `count`, each once, and returns when all are done.
    // It must not throw.
    template <typename Work>
    void for_each(std::size_t count, const Work& work) {
      if (count <= 1 || size() == 1) {
        for (std::size_t part = 0; part < count; ++part) work(part, std::size_t{0});
        return;
      }
      share(count, &work, [](const void* context, std::size_t part, std::size_t slot) {
        (*static_cast<const Work*>(context))(part, slot);
      });
    }

    using Call = void (*)(const void*, std::size_t, std::size_t);

   private:
    void share(std::size_t count, const void* context, Call call);

    Team& team_;
    bool held_;
  };

 private:
  struct Parts;
  explicit Team(std::size_t threads);

  std::unique_ptr<Parts> parts_;
};

}  // namespace bert_export
