#include "check.hpp"
#include "text/json.hpp"

using bert_export::text::Json;
using bert_export::text::JsonError;

namespace {

std::string refusal(std::string_view text) {
  return tests::message_of<JsonError>([=] { Json::parse(text); });
}

// JSON of every kind of value, in which each byte matters.
constexpr std::string_view whole =
    R"({"text": "a\"\\\/\b\f\n\r\té\ud83d\ude00é", "whole": [0, -1, 9223372036854775807],)"
    R"( "broken": [0.5, -1e-3, 2E+2], "words": [true, false, null], "nothing": [{}, []]})";

}  // namespace

TEST(json_reads_every_kind_of_value) {
  const Json json = Json::parse(whole);
  CHECK_EQUAL(json.at("text").string(""), "a\"\\/\b\f\n\r\té😀é");
  CHECK_EQUAL(json.at("whole").array("")[2].integer(""), 9223372036854775807);
  CHECK_EQUAL(json.at("broken").array("")[1].number(""), -1e-3);
  CHECK_EQUAL(json.at("broken").array("")[2].number(""), 200.0);
  CHECK_EQUAL(json.at("whole").array("")[1].number(""), -1.0);
  CHECK(json.at("words").array("")[0].boolean(""));
  CHECK(json.at("words").array("")[2].is_null());
  CHECK(json.at("nothing").array("")[0].object("").empty());
  CHECK(json.find("absent") == nullptr);
}

TEST(json_keeps_the_order_of_members) {
  const Json json = Json::parse(R"({"b": 1, "a": 2})");
  CHECK_EQUAL(json.object("").front().first, "b");
}

TEST(json_names_what_is_of_the_wrong_kind) {
  const Json json = Json::parse(whole);
  CHECK_EQUAL(tests::message_of<JsonError>([&] { json.at("text").integer("the text"); }),
              "the text is no whole number");
  CHECK_EQUAL(tests::message_of<JsonError>([&] { json.at("absent"); }),
              "the field absent is missing");
}

TEST(json_cut_at_every_byte_is_refused) {
  for (std::size_t size = 0; size < whole.size(); ++size) {
    CHECK(refusal(whole.substr(0, size)) != "nothing was thrown");
  }
}

TEST(json_with_any_byte_changed_never_crashes) {
  for (std::size_t place = 0; place < whole.size(); ++place) {
    for (int byte = 0; byte < 256; byte += 5) {
      std::string changed(whole);
      changed[place] = static_cast<char>(byte);
      refusal(changed);
    }
  }
}

TEST(json_is_strict) {
  CHECK_EQUAL(refusal("{\"a\": 1,}"), "no \" at byte 8");
  CHECK_EQUAL(refusal("[1] 2"), "something behind the value at byte 4");
  CHECK_EQUAL(refusal("01"), "a number that starts with 0 at byte 2");
  CHECK_EQUAL(refusal("1."), "no digit at byte 2");
  CHECK_EQUAL(refusal("-"), "no value at byte 1");
  CHECK_EQUAL(refusal("NaN"), "no value at byte 0");
  CHECK_EQUAL(refusal("\"\t\""), "a control character in a string at byte 1");
  CHECK_EQUAL(refusal("\"\\x\""), "an unknown escape at byte 2");
  CHECK_EQUAL(refusal("\"\\u12g4\""), "no four hexadecimal digits at byte 3");
  CHECK_EQUAL(refusal("\"\\ud800\""), "a lone surrogate at byte 7");
  CHECK_EQUAL(refusal("\"\\udc00\""), "a lone surrogate at byte 7");
  CHECK_EQUAL(refusal("\"\\ud800\\u0041\""), "a lone surrogate at byte 13");
  CHECK_EQUAL(refusal("\"\xff\""), "a byte that is not UTF-8 at byte 1");
  CHECK_EQUAL(refusal(std::string("1\0", 2)), "something behind the value at byte 1");
}

TEST(json_refuses_numbers_out_of_range) {
  CHECK_EQUAL(refusal("9223372036854775808"), "a number out of range at byte 19");
  CHECK_EQUAL(refusal("1e999"), "a number out of range at byte 5");
}

TEST(json_refuses_repeated_keys_of_small_and_large_objects) {
  CHECK_EQUAL(refusal(R"({"a": 1, "a": 2})"), "the key \"a\" a second time at byte 12");
  std::string large = "{";
  for (int key = 0; key < 100; ++key) large += "\"" + std::to_string(key) + "\": 0, ";
  CHECK_EQUAL(refusal(large + "\"100\": 0}"), "nothing was thrown");
  CHECK(refusal(large + "\"3\": 0}").find("the key \"3\" a second time") == 0);
  CHECK(refusal(large + "\"99\": 0}").find("the key \"99\" a second time") == 0);
}

TEST(json_bounds_nesting) {
  const auto nested = [](std::size_t levels) {
    return std::string(levels, '[') + std::string(levels, ']');
  };
  CHECK_EQUAL(refusal(nested(100)), "nothing was thrown");
  CHECK_EQUAL(refusal(nested(10000)), "more than 100 levels at byte 101");
  CHECK_EQUAL(refusal(std::string(1000000, '[')), "more than 100 levels at byte 101");
}
