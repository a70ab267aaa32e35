// The thread pool, and random numbers that are numpy's.
#include <atomic>
#include <thread>

#include "bert_export/errors.hpp"
#include "bert_export/thread_pool.hpp"
#include "check.hpp"
#include "pipelines/hypothesis.hpp"
#include "decoding/random.hpp"

using bert_export::InputError;
using bert_export::ThreadPool;

TEST(a_pool_calls_every_number_once) {
  ThreadPool pool(3);
  std::vector<std::atomic<int>> calls(1000);
  pool.for_each(calls.size(), [&](std::size_t number) { ++calls[number]; });
  for (const std::atomic<int>& one : calls) CHECK(one == 1);
  pool.for_each(0, [](std::size_t) { tests::fail(__FILE__, __LINE__, "called for nothing"); });
}

TEST(a_pool_serves_loops_within_loops_and_several_callers) {
  ThreadPool pool(2);
  std::atomic<int> sum{0};
  const auto nested = [&](std::size_t) {
    pool.for_each(10, [&](std::size_t number) { sum += static_cast<int>(number); });
  };
  std::thread other([&] { pool.for_each(20, nested); });
  pool.for_each(20, nested);
  other.join();
  CHECK_EQUAL(sum.load(), 2 * 20 * 45);
}

TEST(a_pool_throws_what_the_lowest_number_threw) {
  ThreadPool pool(3);
  for (int round = 0; round < 50; ++round) {
    const std::string message = tests::message_of<InputError>([&] {
      pool.for_each(40, [](std::size_t number) {
        if (number % 7 == 3) throw InputError("number " + std::to_string(number));
      });
    });
    CHECK_EQUAL(message, "number 3.");
  }
}

TEST(a_pool_of_no_threads_is_refused) {
  CHECK_EQUAL(tests::message_of<InputError>([] { ThreadPool pool(0); }),
              "threads of a pool are wrong: expected at least 1, got 0.");
}

TEST(random_numbers_are_those_of_numpy) {
  // numpy.random.default_rng(seed).random()
  bert_export::decoding::RandomNumbers numbers(7);
  CHECK_EQUAL(numbers.next(), 0.625095466604667);
  CHECK_EQUAL(numbers.next(), 0.8972138009695755);
  CHECK_EQUAL(bert_export::decoding::RandomNumbers(0).next(), 0.6369616873214543);
  CHECK_EQUAL(bert_export::decoding::RandomNumbers(std::uint64_t{1} << 40U).next(),
              0.3608095734199638);
}

TEST(a_hypothesis_is_filled_in) {
  using bert_export::pipelines::Hypothesis;
  CHECK_EQUAL(Hypothesis("{{{}}}.").of("é"), "{é}.");
  CHECK_EQUAL(Hypothesis("{0}, {0}").of("a"), "a, a");
  for (const char* const wrong :
       {"", "none", "{} {}", "{1}", "{name}", "{", "}", "{} }", "{0} {}"}) {
    CHECK(tests::message_of<InputError>([&] {
            Hypothesis pattern(wrong);
          }).find("hypothesis_template") == 0);
  }
}
