// The few lines of a test framework that these tests need.
#pragma once

#include <exception>
#include <iostream>
#include <string>
#include <vector>

namespace tests {

struct Test {
  const char* name;
  void (*run)();
};

inline std::vector<Test>& all_tests() {
  static std::vector<Test> tests;
  return tests;
}

struct Registered {
  Registered(const char* name, void (*run)()) { all_tests().push_back({name, run}); }
};

struct Failure {
  std::string what;
};

[[noreturn]] inline void fail(const char* file, int line, const std::string& what) {
  throw Failure{std::string(file) + ":" + std::to_string(line) + ": " + what};
}

// The message of the error that a call throws.
template <typename Error, typename Call>
std::string message_of(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

inline int run_all() {
  int failed = 0;
  for (const Test& test : all_tests()) {
    try {
      test.run();
    } catch (const Failure& failure) {
      std::cerr << test.name << ": " << failure.what << '\n';
      ++failed;
    } catch (const std::exception& error) {
      std::cerr << test.name << ": threw " << error.what() << '\n';
      ++failed;
    }
  }
  std::cout << all_tests().size() - static_cast<std::size_t>(failed) << " of " << all_tests().size()
            << " tests passed\n";
  return failed == 0 && !all_tests().empty() ? 0 : 1;
}

}  // namespace tests

#define TEST(name)                                        \
  static void name();                                     \
  static const tests::Registered registered_##name(#name, name); \
  static void name()

#define CHECK(condition) \
  do {                   \
    if (!(condition)) tests::fail(__FILE__, __LINE__, #condition); \
  } while (false)

#define CHECK_EQUAL(left, right)                                                       \
  do {                                                                                 \
    const auto& left_ = (left);                                                        \
    const auto& right_ = (right);                                                      \
    if (!(left_ == right_)) {                                                          \
      tests::fail(__FILE__, __LINE__, #left " is not " #right);                        \
    }                                                                                  \
  } while (false)
