// SHA-256 (FIPS 180-4).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace bert_export::bundle {

class Sha256 {
 public:
  void update(std::string_view bytes);
  // The digest in hexadecimal; nothing may be added afterwards.
  std::string finish();

 private:
  static constexpr std::size_t block_size = 64;

  void compress(const unsigned char* block);

  std::array<std::uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  // What does not fill a block yet.
  std::array<unsigned char, block_size> rest_ = {};
  std::size_t rest_size_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace bert_export::bundle
