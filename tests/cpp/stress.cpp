// Many threads over the same opened bundles, and what they leave behind:
//
//     stress THREADS CALLS POOL TARGET:BUNDLE... < calls > outcome
//
// A call is a bundle's place among the arguments and a request of JSON, on a line; `stream` before the
// request asks for the pieces of a text. Every thread makes so many calls, in an order of its own; each
// answer must be the one that the call gave alone. Then the heap is weighed before and after as many
// calls once more. While the threads call, the process is forked, and children call what no engine's
// lost threads are needed for. At last every bundle is closed while the threads call it. The pipelines
// are static: the process must end by itself.

#include <dlfcn.h>
#include <malloc.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <iostream>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "bert_export/errors.hpp"
#include "bert_export/pipelines.hpp"
#include "calls/call.hpp"

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
// Sanitizers end a process that opens a library with RTLD_DEEPBIND, as OpenVINO's threads do.
extern "C" void* dlopen(const char* path, int flags) noexcept {
  static const auto next =
      reinterpret_cast<void* (*)(const char*, int)>(::dlsym(RTLD_NEXT, "dlopen"));
  return next(path, flags & ~RTLD_DEEPBIND);
}
#endif

namespace {

struct Call {
  std::size_t bundle;
  std::string request;
  bool streams;
  std::string answer;
};

std::vector<bert_export::AnyPipeline> opened;

std::string answer_of(const bert_export::AnyPipeline& pipeline, const Call& call) {
  if (!call.streams) return bert_export::calls::call(pipeline, call.request);
  std::string pieces;
  bert_export::calls::stream(pipeline, call.request, [&](std::string_view piece) {
    pieces.append(piece).push_back('\n');
    return true;
  });
  return pieces;
}

std::string answer_of(const Call& call) { return answer_of(opened.at(call.bundle), call); }

std::vector<Call> read_calls() {
  std::vector<Call> calls;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream fields(line);
    Call call{};
    fields >> call.bundle;
    std::getline(fields >> std::ws, call.request);
    const std::string streams = "stream ";
    call.streams = call.request.rfind(streams, 0) == 0;
    if (call.streams) call.request.erase(0, streams.size());
    call.answer = answer_of(call);
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
      if (answer_of(call) != call.answer) ++differences;
    }
  });
  return differences;
}

// Children that are forked while threads call, and answer otherwise. Of the native target alone: an
// engine's threads are not in the child. A child has no pool either.
std::size_t count_wrong_children(const std::vector<Call>& calls, std::size_t threads,
                                 const std::vector<std::pair<std::string, std::string>>& bundles) {
  std::size_t wrong = 0;
#if !defined(__SANITIZE_THREAD__)
  for (std::size_t bundle = 0; bundle < bundles.size(); ++bundle) {
    if (bundles[bundle].first != "native") continue;
    bert_export::OpenOptions options;
    options.threads = 2;
    options.target = "native";
    bert_export::AnyPipeline own = bert_export::open(bundles[bundle].second, options);
    std::vector<Call> asked;
    for (const Call& call : calls) {
      if (call.bundle == bundle) asked.push_back(call);
    }
    std::atomic<bool> ended{false};
    std::thread forking([&] {
      for (int child = 0; child < 8; ++child) {
        const pid_t process = ::fork();
        if (process == 0) {
          ::alarm(60);  // one that hangs is killed
          for (const Call& call : asked) {
            if (answer_of(own, call) != call.answer) ::_exit(1);
          }
          std::visit([](auto& pipeline) { pipeline.close(); }, own);
          ::_exit(0);
        }
        int status = 1;
        if (process < 0 || ::waitpid(process, &status, 0) != process || status != 0) ++wrong;
      }
      ended = true;
    });
    in_threads(threads, [&](std::size_t thread) {
      while (!ended) answer_of(own, asked[thread % asked.size()]);
    });
    forking.join();
  }
#else
  (void)calls, (void)threads, (void)bundles;
#endif
  return wrong;
}

// Calls of a bundle that is closed meanwhile: each is answered as ever, or says so.
std::size_t count_wrong_while_closing(const Call& call, std::size_t threads) {
  std::atomic<std::size_t> wrong{0};
  std::atomic<std::size_t> answered{0};
  std::thread closing([&] {
    while (answered < threads) std::this_thread::yield();
    std::visit([](auto& own) { own.close(); }, opened[call.bundle]);
  });
  in_threads(threads, [&](std::size_t) {
    for (;;) {
      try {
        if (answer_of(call) != call.answer) ++wrong;
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
    std::cerr << "usage: stress THREADS CALLS POOL TARGET:BUNDLE...\n";
    return 2;
  }
  const std::size_t threads = std::stoul(arguments[1]);
  const std::size_t each = std::stoul(arguments[2]);
  bert_export::OpenOptions options;
  options.pool = std::make_shared<bert_export::ThreadPool>(std::stoul(arguments[3]));
  std::vector<std::pair<std::string, std::string>> bundles;
  for (int place = 4; place < count; ++place) {
    const std::string given = arguments[place];
    const std::size_t colon = given.find(':');
    bundles.emplace_back(given.substr(0, colon), given.substr(colon + 1));
    options.target = bundles.back().first;
    options.threads = options.target == "native" ? 2 : 1;  // its programs share one team
    opened.push_back(bert_export::open(bundles.back().second, options));
  }
  const std::vector<Call> calls = read_calls();
  const std::size_t differences = count_differences(calls, threads, each);
  const std::size_t before = mallinfo2().uordblks;
  const std::size_t later = count_differences(calls, threads, each);
  const std::size_t after = mallinfo2().uordblks;
  const std::size_t children = count_wrong_children(calls, threads, bundles);
  std::size_t closing = 0;
  for (std::size_t bundle = 0; bundle < bundles.size(); ++bundle) {
    const auto call = std::find_if(calls.rbegin(), calls.rend(),
                                   [&](const Call& own) { return own.bundle == bundle; });
    if (call != calls.rend()) closing += count_wrong_while_closing(*call, threads);
  }
  std::cout << "{\"differences\":" << differences + later
            << ",\"grown\":" << static_cast<long long>(after) - static_cast<long long>(before)
            << ",\"wrong_children\":" << children << ",\"wrong_while_closing\":" << closing << "}\n";
  return 0;
}
