#include "bundle/sha256.hpp"
#include "check.hpp"

namespace {

std::string sha256(std::string_view bytes, std::size_t chunk) {
  bert_export::bundle::Sha256 digest;
  for (std::size_t place = 0; place < bytes.size(); place += chunk) {
    digest.update(bytes.substr(place, chunk));
  }
  return digest.finish();
}

}  // namespace

// Examples of FIPS 180-4.
TEST(digests_are_those_of_the_standard) {
  CHECK_EQUAL(sha256("", 1), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK_EQUAL(sha256("abc", 3), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK_EQUAL(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56),
              "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK_EQUAL(sha256(std::string(1000000, 'a'), 1 << 16),
              "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(digests_do_not_depend_on_chunks) {
  for (std::size_t size = 0; size < 200; ++size) {
    const std::string bytes(size, 'x');
    const std::string whole = sha256(bytes, 1000);
    for (const std::size_t chunk : {1, 3, 63, 64, 65}) CHECK_EQUAL(sha256(bytes, chunk), whole);
  }
}
