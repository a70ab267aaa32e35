// The tiles of AMX, all 16 rows of 64 bytes: 0 and 1 hold sums, 2 and 3 what is multiplied.
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
    // Constant, for compilers take the instruction to read its first bytes alone.
    static constexpr Configuration configuration;
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

// Sums begin at a row of numbers that all rows of a tile have, or at 0.
#define BERT_EXPORT_TILE_START(sum, start, place)             \
  do {                                                        \
    if (start == nullptr) {                                   \
      _tile_zero(sum);                                        \
    } else {                                                  \
      _tile_loadd(sum, start + (place), 0);                   \
    }                                                         \
  } while (false)

// Nothing is done between products.
struct Idle {
  void operator()() const {}
};

// Two tiles of rows times one of columns: (32, 16) sums. `start`, where there is one, is what
// the sums of each column begin at; `between` is called behind each step.
//
// Four of the eight tiles are enough: in phases in which products do not overlap, eight take almost
// twice as long as four (see the folder's README). In others both are as fast.
template <typename Kind, typename Between>
inline void multiply_tiles_2x1(const typename Kind::Input* left, std::size_t left_stride,
                               const typename Kind::Weight* right, std::size_t steps,
                               const typename Kind::Sum* start, typename Kind::Sum* sums,
                               std::size_t sums_stride, Between& between) {
  constexpr std::size_t tile_numbers = tile_rows * tile_bytes / sizeof(typename Kind::Weight);
  const std::size_t left_bytes = left_stride * sizeof(typename Kind::Input);
  const auto* const lower = left + tile_rows * left_stride;
  BERT_EXPORT_TILE_START(0, start, 0);
  BERT_EXPORT_TILE_START(1, start, 0);
  for (std::size_t step = 0; step < steps; ++step) {
    _tile_loadd(3, right + step * tile_numbers, tile_bytes);
    _tile_loadd(2, left + step * Kind::depth, left_bytes);
    BERT_EXPORT_TILE_PRODUCT(Kind, 0, 2, 3);
    _tile_loadd(2, lower + step * Kind::depth, left_bytes);
    BERT_EXPORT_TILE_PRODUCT(Kind, 1, 2, 3);
    between();
  }
  const std::size_t sums_bytes = sums_stride * sizeof(typename Kind::Sum);
  _tile_stored(0, sums, sums_bytes);
  _tile_stored(1, sums + tile_rows * sums_stride, sums_bytes);
}

// Two tiles of rows times two of columns: (32, 32) sums. `right_stride` lies between the two tiles of
// columns; each has its steps one after the other. The rows are read twice, which costs little where
// they stay in the first cache.
template <typename Kind, typename Between = const Idle>
inline void multiply_tiles_2x2(const typename Kind::Input* left, std::size_t left_stride,
                               const typename Kind::Weight* right, std::size_t right_stride,
                               std::size_t steps, const typename Kind::Sum* start,
                               typename Kind::Sum* sums, std::size_t sums_stride,
                               Between& between = {}) {
  multiply_tiles_2x1<Kind>(left, left_stride, right, steps, start, sums, sums_stride, between);
  multiply_tiles_2x1<Kind>(left, left_stride, right + right_stride, steps,
                           start == nullptr ? start : start + tile_rows, sums + tile_rows,
                           sums_stride, between);
}

// The same, for rows that do not stay in the first cache: all is read once, by seven tiles.
template <typename Kind, typename Between>
inline void multiply_deep_tiles_2x2(const typename Kind::Input* left, std::size_t left_stride,
                                    const typename Kind::Weight* right, std::size_t right_stride,
                                    std::size_t steps, const typename Kind::Sum* start,
                                    typename Kind::Sum* sums, std::size_t sums_stride,
                                    Between& between) {
  constexpr std::size_t tile_numbers = tile_rows * tile_bytes / sizeof(typename Kind::Weight);
  const std::size_t left_bytes = left_stride * sizeof(typename Kind::Input);
  const auto* const lower = left + tile_rows * left_stride;
  BERT_EXPORT_TILE_START(0, start, 0);
  BERT_EXPORT_TILE_START(1, start, tile_rows);
  BERT_EXPORT_TILE_START(4, start, 0);
  BERT_EXPORT_TILE_START(5, start, tile_rows);
  for (std::size_t step = 0; step < steps; ++step) {
    const auto* const tile = right + step * tile_numbers;
    _tile_loadd(3, tile, tile_bytes);
    _tile_loadd(6, tile + right_stride, tile_bytes);
    _tile_loadd(2, left + step * Kind::depth, left_bytes);
    BERT_EXPORT_TILE_PRODUCT(Kind, 0, 2, 3);
    BERT_EXPORT_TILE_PRODUCT(Kind, 1, 2, 6);
    _tile_loadd(2, lower + step * Kind::depth, left_bytes);
    BERT_EXPORT_TILE_PRODUCT(Kind, 4, 2, 3);
    BERT_EXPORT_TILE_PRODUCT(Kind, 5, 2, 6);
    between();
  }
  const std::size_t sums_bytes = sums_stride * sizeof(typename Kind::Sum);
  _tile_stored(0, sums, sums_bytes);
  _tile_stored(1, sums + tile_rows, sums_bytes);
  _tile_stored(4, sums + tile_rows * sums_stride, sums_bytes);
  _tile_stored(5, sums + tile_rows * sums_stride + tile_rows, sums_bytes);
}

// One tile of rows times two of columns: (16, 32) sums.
template <typename Kind, typename Between>
inline void multiply_tiles_1x2(const typename Kind::Input* left, std::size_t left_stride,
                               const typename Kind::Weight* right, std::size_t right_stride,
                               std::size_t steps, const typename Kind::Sum* start,
                               typename Kind::Sum* sums, std::size_t sums_stride,
                               Between& between) {
  constexpr std::size_t tile_numbers = tile_rows * tile_bytes / sizeof(typename Kind::Weight);
  const std::size_t left_bytes = left_stride * sizeof(typename Kind::Input);
  BERT_EXPORT_TILE_START(0, start, 0);
  BERT_EXPORT_TILE_START(1, start, tile_rows);
  for (std::size_t step = 0; step < steps; ++step) {
    const auto* const tile = right + step * tile_numbers;
    _tile_loadd(2, left + step * Kind::depth, left_bytes);
    _tile_loadd(3, tile, tile_bytes);
    BERT_EXPORT_TILE_PRODUCT(Kind, 0, 2, 3);
    _tile_loadd(3, tile + right_stride, tile_bytes);
    BERT_EXPORT_TILE_PRODUCT(Kind, 1, 2, 3);
    between();
  }
  const std::size_t sums_bytes = sums_stride * sizeof(typename Kind::Sum);
  _tile_stored(0, sums, sums_bytes);
  _tile_stored(1, sums + tile_rows, sums_bytes);
}

}  // namespace
}  // namespace bert_export::native
