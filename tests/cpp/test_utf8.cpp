#include "check.hpp"
#include "text/utf8.hpp"

namespace utf8 = bert_export::text;

TEST(every_code_point_goes_there_and_back) {
  for (char32_t code = 0; code < 0x110000; ++code) {
    if (code >= 0xD800 && code < 0xE000) continue;
    char bytes[4];
    const std::size_t count = utf8::encode_to(code, bytes);
    const utf8::Decoded decoded = utf8::decode_at({bytes, count}, 0);
    CHECK(decoded.code == code && decoded.bytes == count);
    CHECK(count == 1 || utf8::decode_at({bytes, count - 1}, 0).bytes == 0);
  }
}

TEST(what_is_not_utf8_is_found) {
  CHECK(!utf8::find_invalid("plain é 😀"));
  CHECK_EQUAL(utf8::find_invalid("a\xff"), std::size_t{1});
  CHECK_EQUAL(utf8::find_invalid("a\x80"), std::size_t{1});
  CHECK_EQUAL(utf8::find_invalid("\xc3"), std::size_t{0});                  // cut
  CHECK_EQUAL(utf8::find_invalid("\xc0\x80"), std::size_t{0});              // overlong NUL
  CHECK_EQUAL(utf8::find_invalid("\xe0\x80\xaf"), std::size_t{0});          // overlong /
  CHECK_EQUAL(utf8::find_invalid("\xed\xa0\x80"), std::size_t{0});          // a surrogate
  CHECK_EQUAL(utf8::find_invalid("\xf4\x90\x80\x80"), std::size_t{0});      // above U+10FFFF
  CHECK_EQUAL(utf8::find_invalid("\xf8\x88\x80\x80\x80"), std::size_t{0});  // five bytes
}

TEST(code_points_are_counted_and_found) {
  CHECK_EQUAL(utf8::length("aé😀"), std::size_t{3});
  CHECK_EQUAL(utf8::byte_of("aé😀b", 2), std::size_t{3});
  CHECK_EQUAL(utf8::byte_of("aé😀b", 3), std::size_t{7});
  CHECK_EQUAL(utf8::byte_of("aé", 2), std::size_t{3});
}
