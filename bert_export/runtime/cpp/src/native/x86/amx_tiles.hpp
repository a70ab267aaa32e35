// The eight tiles of AMX, all 16 rows of 64 bytes: 0 to 3 hold sums, 4 to 7 what is multiplied.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace bert_export::native {
namespace {

constexpr std::size_t tile_rows = 16;
constexpr std::size_t tile_bytes = 64;

// Takes the tiles for a call. Other libraries on the same thread set them to their own needs, so every
// call does.
class Tiles {
 public:
  Tiles() {
    struct alignas(64) Configuration {
      std::uint8_t palette = 1;
      std::uint8_t start_row = 0;
      std::uint8_t reserved[14] = {};
      std::uint16_t bytes_per_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    };
    const Configuration configuration;
    _tile_loadconfig(&configuration);
  }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
  ~Tiles() { _tile_release(); }
};

// What a tile multiplies: the types, and the instruction.
struct ByteTiles {
  using Input = std::uint8_t;
  using Weight = std::int8_t;
  using Sum = std::int32_t;
  static constexpr std::size_t depth = 64;  // numbers of a tile's row
};
struct HalfTiles {
  using Input = std::uint16_t;
  using Weight = std::uint16_t;
  using Sum = float;
  static constexpr std::size_t depth = 32;
};

// The numbers of tiles are parts of the instructions, hence macros.
#define BERT_EXPORT_TILE_PRODUCT(Kind, sum, left, right)      \
  do {                                                        \
    if constexpr (sizeof(typename Kind::Input) == 1) {        \
      _tile_dpbusd(sum, left, right);                         \
    } else {                                                  \
      _tile_dpbf16ps(sum, left, right);                       \
    }                                                         \
  } while (false)

// Two tiles of rows times two of columns: (32, 32) sums. `right_stride` lies between the two tiles of
// columns; each has its steps one after the other.
template <typename Kind>
inline void multiply_tiles_2x2(const typename Kind::Input* left, std::size_t left_stride,
                               const typename Kind::Weight* right, std::size_t right_stride,
                               std::size_t steps, typename Kind::Sum* sums, std::size_t sums_stride) {
  constexpr std::size_t tile_numbers = tile_rows * tile_bytes / sizeof(typename Kind::Weight);
  const std::size_t left_bytes = left_stride * sizeof(typename Kind::Input);
  const auto* const lower = left + tile_rows * left_stride;
  const auto* const beside = right + right_stride;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (std::size_t step = 0; step < steps; ++step) {
    _tile_loadd(6, right + step * tile_numbers, tile_bytes);
    _tile_loadd(4, left + step * Kind::depth, left_bytes);
    BERT_EXPORT_TILE_PRODUCT(Kind, 0, 4, 6);
    _tile_loadd(7, beside + step * tile_numbers, tile_bytes);
    BERT_EXPORT_TILE_PRODUCT(Kind, 1, 4, 7);
    _tile_loadd(5, lower + step * Kind::depth, left_bytes);
    BERT_EXPORT_TILE_PRODUCT(Kind, 2, 5, 6);
    BERT_EXPORT_TILE_PRODUCT(Kind, 3, 5, 7);
  }
  const std::size_t sums_bytes = sums_stride * sizeof(typename Kind::Sum);
  _tile_stored(0, sums, sums_bytes);
  _tile_stored(1, sums + tile_rows, sums_bytes);
  _tile_stored(2, sums + tile_rows * sums_stride, sums_bytes);
  _tile_stored(3, sums + tile_rows * sums_stride + tile_rows, sums_bytes);
}

// One tile of rows times four of columns: (16, 64) sums. The more of the weights flows past, the
// better: with few rows their way from memory takes the time.
template <typename Kind>
inline void multiply_tiles_1x4(const typename Kind::Input* left, std::size_t left_stride,
                               const typename Kind::Weight* right, std::size_t right_stride,
                               std::size_t steps, typename Kind::Sum* sums, std::size_t sums_stride) {
  constexpr std::size_t tile_numbers = tile_rows * tile_bytes / sizeof(typename Kind::Weight);
  const std::size_t left_bytes = left_stride * sizeof(typename Kind::Input);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (std::size_t step = 0; step < steps; ++step) {
    const auto* const tile = right + step * tile_numbers;
    _tile_loadd(4, left + step * Kind::depth, left_bytes);
    _tile_loadd(5, tile, tile_bytes);
    BERT_EXPORT_TILE_PRODUCT(Kind, 0, 4, 5);
    _tile_loadd(6, tile + right_stride, tile_bytes);
    BERT_EXPORT_TILE_PRODUCT(Kind, 1, 4, 6);
    _tile_loadd(7, tile + 2 * right_stride, tile_bytes);
    BERT_EXPORT_TILE_PRODUCT(Kind, 2, 4, 7);
    _tile_loadd(5, tile + 3 * right_stride, tile_bytes);
    BERT_EXPORT_TILE_PRODUCT(Kind, 3, 4, 5);
  }
  const std::size_t sums_bytes = sums_stride * sizeof(typename Kind::Sum);
  _tile_stored(0, sums, sums_bytes);
  _tile_stored(1, sums + tile_rows, sums_bytes);
  _tile_stored(2, sums + 2 * tile_rows, sums_bytes);
  _tile_stored(3, sums + 3 * tile_rows, sums_bytes);
}

}  // namespace
}  // namespace bert_export::native
