#include "bundle/sha256.hpp"

#include <algorithm>

namespace bert_export::bundle {
namespace {

constexpr std::uint32_t constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

constexpr std::uint32_t rotate(std::uint32_t word, unsigned by) {
  return word >> by | word << (32 - by);
}

std::uint32_t big_endian(const unsigned char* bytes) {
  return std::uint32_t{bytes[0]} << 24U | std::uint32_t{bytes[1]} << 16U |
         std::uint32_t{bytes[2]} << 8U | bytes[3];
}

}  // namespace

void Sha256::update(std::string_view bytes) {
  bytes_ += bytes.size();
  const auto* next = reinterpret_cast<const unsigned char*>(bytes.data());
  std::size_t left = bytes.size();
  if (rest_size_ > 0) {
    const std::size_t taken = std::min(left, block_size - rest_size_);
    std::copy_n(next, taken, rest_.begin() + static_cast<std::ptrdiff_t>(rest_size_));
    rest_size_ += taken;
    next += taken;
    left -= taken;
    if (rest_size_ < block_size) return;
    compress(rest_.data());
    rest_size_ = 0;
  }
  for (; left >= block_size; next += block_size, left -= block_size) compress(next);
  std::copy_n(next, left, rest_.begin());
  rest_size_ = left;
}

std::string Sha256::finish() {
  const std::uint64_t bits = bytes_ * 8;
  std::string padding(1, '\x80');
  padding.append((block_size + 55 - bytes_ % block_size) % block_size, '\0');
  for (int shift = 56; shift >= 0; shift -= 8) {
    padding += static_cast<char>(bits >> static_cast<unsigned>(shift));
  }
  update(padding);
  constexpr std::string_view digits = "0123456789abcdef";
  std::string hex;
  for (const std::uint32_t word : state_) {
    for (int shift = 28; shift >= 0; shift -= 4) {
      hex += digits[word >> static_cast<unsigned>(shift) & 15U];
    }
  }
  return hex;
}

void Sha256::compress(const unsigned char* block) {
  std::uint32_t words[64];
  for (std::size_t index = 0; index < 16; ++index) words[index] = big_endian(block + 4 * index);
  for (std::size_t index = 16; index < 64; ++index) {
    const std::uint32_t early = words[index - 15];
    const std::uint32_t late = words[index - 2];
    words[index] = words[index - 16] + words[index - 7] +
                   (rotate(early, 7) ^ rotate(early, 18) ^ early >> 3U) +
                   (rotate(late, 17) ^ rotate(late, 19) ^ late >> 10U);
  }
  auto [a, b, c, d, e, f, g, h] = state_;
  for (std::size_t index = 0; index < 64; ++index) {
    const std::uint32_t first = h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) +
                                ((e & f) ^ (~e & g)) + constants[index] + words[index];
    const std::uint32_t second =
        (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
    h = g, g = f, f = e, e = d + first;
    d = c, c = b, b = a, a = first + second;
  }
  const std::uint32_t added[] = {a, b, c, d, e, f, g, h};
  for (std::size_t index = 0; index < 8; ++index) state_[index] += added[index];
}

}  // namespace bert_export::bundle
