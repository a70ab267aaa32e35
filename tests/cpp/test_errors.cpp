#include "bert_export/errors.hpp"
#include "check.hpp"
#include "text/printing.hpp"

using bert_export::InputError;
using bert_export::text::shown;

TEST(messages_have_their_clauses) {
  CHECK_EQUAL(std::string(InputError("row is empty").what()), "row is empty.");
  CHECK_EQUAL(std::string(InputError("x is wrong", {"a", "b", "Do c"}).what()),
              "x is wrong: expected a, got b. Do c.");
  CHECK_EQUAL(std::string(InputError("x is wrong", {"", "b"}).what()), "x is wrong: got b.");
  CHECK_EQUAL(std::string(InputError("x is wrong", {"", "an error."}).what()),
              "x is wrong: got an error.");
  CHECK_EQUAL(std::string(InputError("x is wrong", {"", "more..."}).what()),
              "x is wrong: got more....");
}

TEST(messages_stay_on_their_line) {
  CHECK_EQUAL(std::string(InputError("file a\nb\x1b[31m\xff é").what()),
              "file a\\nb\\x1b[31m\\xff é.");
}

TEST(values_are_quoted_and_cut) {
  CHECK_EQUAL(shown("it"), "'it'");
  CHECK_EQUAL(shown("it's"), "\"it's\"");
  CHECK_EQUAL(shown("it's \"x\""), "'it\\'s \"x\"'");
  CHECK_EQUAL(shown("a\\b"), "'a\\\\b'");
  CHECK_EQUAL(shown("\n"), "'\\n'");
  CHECK_EQUAL(shown(std::string(58, 'a')), "'" + std::string(58, 'a') + "'");
  CHECK_EQUAL(shown(std::string(60, 'a')), "'" + std::string(59, 'a') + "...");
  CHECK_EQUAL(shown(std::string(61, 'a')), "'" + std::string(60, 'a') + "'...");
  CHECK_EQUAL(shown({"a", "it's"}, "()"), "('a', \"it's\")");
  CHECK_EQUAL(shown({std::string(80, 'a')}, "[]"), "['" + std::string(58, 'a') + "...");
}
