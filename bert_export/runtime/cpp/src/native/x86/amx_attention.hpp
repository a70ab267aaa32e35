// Attention in BF16 by AMX. Included behind a vector header.
#pragma once

#include "native/kernels.hpp"
#include "native/x86/amx_tiles.hpp"
#include "native/x86/softmax.hpp"

namespace bert_export::native {
namespace {

// 16 rows of 16 pairs become 16 columns.
inline void transpose_pairs(__m512i rows[16]) {
  __m512i a[16];
  for (int index = 0; index < 16; index += 2) {  // pairs of rows
    a[index] = _mm512_unpacklo_epi32(rows[index], rows[index + 1]);
    a[index + 1] = _mm512_unpackhi_epi32(rows[index], rows[index + 1]);
  }
  __m512i b[16];
  for (int index = 0; index < 16; index += 4) {  // groups of four: one column in each 128 bits
    b[index] = _mm512_unpacklo_epi64(a[index], a[index + 2]);
    b[index + 1] = _mm512_unpackhi_epi64(a[index], a[index + 2]);
    b[index + 2] = _mm512_unpacklo_epi64(a[index + 1], a[index + 3]);
    b[index + 3] = _mm512_unpackhi_epi64(a[index + 1], a[index + 3]);
  }
  for (int column = 0; column < 4; ++column) {  // the four groups beside each other
    const __m512i first = _mm512_shuffle_i32x4(b[column], b[column + 4], 0x88);
    const __m512i second = _mm512_shuffle_i32x4(b[column], b[column + 4], 0xDD);
    const __m512i third = _mm512_shuffle_i32x4(b[column + 8], b[column + 12], 0x88);
    const __m512i fourth = _mm512_shuffle_i32x4(b[column + 8], b[column + 12], 0xDD);
    rows[column] = _mm512_shuffle_i32x4(first, third, 0x88);
    rows[column + 8] = _mm512_shuffle_i32x4(first, third, 0xDD);
    rows[column + 4] = _mm512_shuffle_i32x4(second, fourth, 0x88);
    rows[column + 12] = _mm512_shuffle_i32x4(second, fourth, 0xDD);
  }
}

// 32 bf16 of a row from a place on; 0 beyond the count.
inline __m512i load_halves(const std::uint16_t* from, std::size_t count) {
  const auto mask = static_cast<__mmask32>(count >= 32 ? 0xFFFFFFFFU : (1U << count) - 1U);
  return _mm512_maskz_loadu_epi16(mask, from);
}

inline void run_amx_attention(const Attention& attention, const AttentionCall& call) {
  constexpr std::size_t query_rows = 2 * tile_rows;
  constexpr std::size_t tile_numbers = tile_rows * 32;
  const std::size_t size = attention.head_size;
  const std::size_t padded_size = rounded_up(size, 32);
  const std::size_t keys = rounded_up(call.length, 32);
  const std::size_t size_steps = padded_size / 32;
  const std::size_t key_steps = keys / 32;
  Scratch scratch(call.scratch);
  auto* const key_tiles = scratch.take<std::uint16_t>(keys * padded_size);
  auto* const value_tiles = scratch.take<std::uint16_t>(keys * padded_size);
  auto* const queries = scratch.take<std::uint16_t>(query_rows * padded_size);
  auto* const scores = scratch.take<float>(query_rows * keys);
  auto* const numerators = scratch.take<std::uint16_t>(query_rows * keys);
  auto* const sums = scratch.take<float>(query_rows * padded_size);

  // Keys become columns: tiles of 16 keys, with 32 numbers of each in a step.
  const auto* const all_keys = static_cast<const std::uint16_t*>(call.keys);
  for (std::size_t first = 0; first < keys; first += tile_rows) {
    for (std::size_t step = 0; step < size_steps; ++step) {
      __m512i rows[tile_rows];
      for (std::size_t key = 0; key < tile_rows; ++key) {
        rows[key] = first + key < call.length
                        ? load_halves(all_keys + (first + key) * call.keys_stride + step * 32,
                                      size - step * 32)
                        : _mm512_setzero_si512();
      }
      transpose_pairs(rows);
      auto* const tile = key_tiles + (first / tile_rows * size_steps + step) * tile_numbers;
      for (std::size_t row = 0; row < tile_rows; ++row) {
        _mm512_store_si512(tile + row * 32, rows[row]);
      }
    }
  }
  // Values stay rows, two of them beside each other: tiles of 16 columns, with 32 keys in a step.
  const auto* const all_values = static_cast<const std::uint16_t*>(call.values);
  for (std::size_t key = 0; key < keys; key += 2) {
    for (std::size_t place = 0; place < padded_size; place += 32) {
      const auto values_of = [&](std::size_t row) {
        return row < call.length
                   ? load_halves(all_values + row * call.values_stride + place, size - place)
                   : _mm512_setzero_si512();
      };
      const __m512i even = values_of(key);
      const __m512i odd = values_of(key + 1);
      for (int half = 0; half < 2; ++half) {
        const __m256i evens = half == 0 ? _mm512_castsi512_si256(even)
                                        : _mm512_extracti64x4_epi64(even, 1);
        const __m256i odds = half == 0 ? _mm512_castsi512_si256(odd)
                                       : _mm512_extracti64x4_epi64(odd, 1);
        const std::size_t columns = place / tile_rows + static_cast<std::size_t>(half);
        auto* const tile = value_tiles + (columns * key_steps + key / 32) * tile_numbers;
        _mm512_store_si512(tile + key % 32 / 2 * 32,
                           _mm512_or_si512(_mm512_cvtepu16_epi32(evens),
                                           _mm512_slli_epi32(_mm512_cvtepu16_epi32(odds), 16)));
      }
    }
  }

  const Tiles tiles;
  const auto* const all_queries = static_cast<const std::uint16_t*>(call.queries);
  for (std::size_t first = 0; first < call.query_count; first += query_rows) {
    const std::size_t left = call.query_count - first;
    const std::size_t count = left < query_rows ? left : query_rows;
    for (std::size_t query = 0; query < query_rows; ++query) {
      for (std::size_t place = 0; place < padded_size; place += 32) {
        _mm512_store_si512(
            queries + query * padded_size + place,
            query < count ? load_halves(all_queries + (first + query) * call.queries_stride + place,
                                        size - place)
                          : _mm512_setzero_si512());
      }
    }
    for (std::size_t key = 0; key < keys; key += 2 * tile_rows) {
      multiply_tiles_2x2<HalfTiles>(queries, padded_size,
                                    key_tiles + key / tile_rows * size_steps * tile_numbers,
                                    size_steps * tile_numbers, size_steps, nullptr, scores + key, keys);
    }
    float divisors[query_rows];
    for (std::size_t query = 0; query < count; ++query) {
      const std::size_t seen = attention.causal ? call.past + first + query + 1 : call.length;
      divisors[query] = run_softmax<true>(scores + query * keys, seen, keys, attention.scale,
                                          numerators + query * keys);
    }
    for (std::size_t column = 0; column < padded_size; column += 2 * tile_rows) {
      multiply_tiles_2x2<HalfTiles>(numerators, keys,
                                    value_tiles + column / tile_rows * key_steps * tile_numbers,
                                    key_steps * tile_numbers, key_steps, nullptr, sums + column,
                                    padded_size);
    }
    for (std::size_t query = 0; query < count; ++query) {
      store_head(attention, sums + query * padded_size, divisors[query], call.output,
                 (first + query) * call.output_stride);
    }
  }
}

}  // namespace
}  // namespace bert_export::native
