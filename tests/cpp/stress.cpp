// Many threads over the same opened bundles, and what they leave behind:
//
//     stress THREADS CALLS POOL BUNDLE... < calls > outcome
//
// A call is a bundle's place among the arguments and a request of JSON, on a line. Every thread
// makes so many calls, in an order of its own; each answer must be the one that the call gave
// alone. Then the heap is weighed before and after as many calls once more. At last a bundle is
// closed while the threads call it. The pipelines are static: the process must end by itself.

#include <malloc.h>

#include <atomic>
#include <iostream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "bert_export/errors.hpp"
#include "bert_export/pipelines.hpp"
#include "calls/call.hpp"

namespace {

struct Call {
  std::size_t bundle;
  std::string request;
  std::string answer;
};

std::vector<bert_export::AnyPipeline> opened;

std::vector<Call> read_calls() {
  std::vector<Call> calls;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream fields(line);
    Call call{};
    fields >> call.bundle;
    std::getline(fields, call.request);
    call.answer = bert_export::calls::call(opened.at(call.bundle), call.request);
    calls.push_back(std::move(call));
  }
  return calls;
}

template <typename Work>
void in_threads(std::size_t threads, const Work& work) {
  std::vector<std::thread> running;
  for (std::size_t thread = 0; thread < threads; ++thread) running.emplace_back(work, thread);
  for (std::thread& one : running) one.join();
}

// Answers that differ from those of the calls alone.
std::size_t count_differences(const std::vector<Call>& calls, std::size_t threads,
                              std::size_t each) {
  std::atomic<std::size_t> differences{0};
  in_threads(threads, [&](std::size_t thread) {
    for (std::size_t made = 0; made < each; ++made) {
      const Call& call = calls[(made * (2 * thread + 1) + thread) % calls.size()];
      const std::string answer = bert_export::calls::call(opened[call.bundle], call.request);
      if (answer != call.answer) ++differences;
    }
  });
  return differences;
}

// Calls of a bundle that is closed meanwhile: each is answered as ever, or says so.
std::size_t count_wrong_while_closing(const std::vector<Call>& calls, std::size_t threads) {
  const Call& call = calls.front();
  std::atomic<std::size_t> wrong{0};
  std::atomic<std::size_t> answered{0};
  std::thread closing([&] {
    while (answered < threads) std::this_thread::yield();
    std::visit([](auto& own) { own.close(); }, opened[call.bundle]);
  });
  in_threads(threads, [&](std::size_t) {
    for (;;) {
      try {
        if (bert_export::calls::call(opened[call.bundle], call.request) != call.answer) ++wrong;
        ++answered;
      } catch (const bert_export::InputError& error) {
        if (std::string(error.what()) != "session is closed. Load the bundle again.") ++wrong;
        return;
      }
    }
  });
  closing.join();
  return wrong;
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 5) {
    std::cerr << "usage: stress THREADS CALLS POOL BUNDLE...\n";
    return 2;
  }
  const std::size_t threads = std::stoul(arguments[1]);
  const std::size_t each = std::stoul(arguments[2]);
  bert_export::OpenOptions options;
  options.threads = 1;
  options.pool = std::make_shared<bert_export::ThreadPool>(std::stoul(arguments[3]));
  for (int place = 4; place < count; ++place) {
    opened.push_back(bert_export::open(arguments[place], options));
  }
  const std::vector<Call> calls = read_calls();
  const std::size_t differences = count_differences(calls, threads, each);
  const std::size_t before = mallinfo2().uordblks;
  const std::size_t later = count_differences(calls, threads, each);
  const std::size_t after = mallinfo2().uordblks;
  std::cout << "{\"differences\":" << differences + later
            << ",\"grown\":" << static_cast<long long>(after) - static_cast<long long>(before)
            << ",\"wrong_while_closing\":" << count_wrong_while_closing(calls, threads) << "}\n";
  return 0;
}
