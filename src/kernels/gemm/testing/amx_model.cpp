// SPDX-License-Identifier: Apache-2.0
// A C++ model of the AMX tile instructions (Intel SDM, volume 2) in place of their intrinsics, and
// amx_tiles.h built on it.
#include "kernels/gemm/testing/amx_model.h"

#include <cstdint>
#include <cstring>

#include <immintrin.h>

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbsud
#undef _tile_dpbf16ps

#define _tile_loadconfig(config) amx_model::load_config(config)
#define _tile_release() amx_model::release()
#define _tile_zero(tile) amx_model::zero(tile)
#define _tile_loadd(tile, base, stride) amx_model::load(tile, base, stride)
#define _tile_stored(tile, base, stride) amx_model::store(tile, base, stride)
#define _tile_dpbsud(c, a, b) amx_model::dpbsud(c, a, b)
#define _tile_dpbf16ps(c, a, b) amx_model::dpbf16ps(c, a, b)

namespace lanner {
namespace {
namespace amx_model {

struct Tile {
  int rows = 0;
  int bytes = 0;  // of a row
  uint8_t data[16][64] = {};
};

struct State {
  bool configured = false;
  Tile tiles[8];
};

static State& state() {
  static thread_local State state;
  return state;
}

// Palette 1: byte 0 the palette, 16 the bytes of a row as 16-bit words, 48 the rows.
static void load_config(const void* config) {
  const auto* bytes = static_cast<const uint8_t*>(config);
  if (bytes[0] != 1 || bytes[1] != 0) amx_model_fault();
  for (int i = 2; i < 16; ++i) {
    if (bytes[i] != 0) amx_model_fault();
  }
  for (int i = 0; i < 8; ++i) {
    Tile& tile = state().tiles[i];
    uint16_t row_bytes;
    std::memcpy(&row_bytes, bytes + 16 + 2 * i, sizeof row_bytes);
    tile = Tile{};
    tile.rows = bytes[48 + i];
    tile.bytes = row_bytes;
    if (tile.rows > 16 || tile.bytes > 64 || (tile.rows == 0) != (tile.bytes == 0)) {
      amx_model_fault();
    }
  }
  state().configured = true;
}

static void release() { state() = State{}; }

static Tile& tile(int index) {
  Tile& tile = state().tiles[index];
  if (!state().configured || tile.rows == 0) amx_model_fault();
  return tile;
}

static void zero(int index) { std::memset(tile(index).data, 0, sizeof(Tile::data)); }

static void load(int index, const void* base, int64_t stride) {
  Tile& t = tile(index);
  std::memset(t.data, 0, sizeof t.data);
  for (int row = 0; row < t.rows; ++row) {
    std::memcpy(t.data[row], static_cast<const uint8_t*>(base) + row * stride,
                static_cast<size_t>(t.bytes));
  }
}

static void store(int index, void* base, int64_t stride) {
  const Tile& t = tile(index);
  for (int row = 0; row < t.rows; ++row) {
    std::memcpy(static_cast<uint8_t*>(base) + row * stride, t.data[row],
                static_cast<size_t>(t.bytes));
  }
}

static bool shapes_match(const Tile& c, const Tile& a, const Tile& b) {
  const bool match = c.rows == a.rows && c.bytes == b.bytes && a.bytes == 4 * b.rows;
  if (!match) amx_model_fault();
  return match;
}

// c[m][n] += the products of four int8 of a and four uint8 of b.
static void dpbsud(int c_index, int a_index, int b_index) {
  Tile& c = tile(c_index);
  const Tile& a = tile(a_index);
  const Tile& b = tile(b_index);
  if (!shapes_match(c, a, b)) return;
  for (int m = 0; m < c.rows; ++m) {
    for (int n = 0; n < c.bytes / 4; ++n) {
      int32_t sum;
      std::memcpy(&sum, c.data[m] + 4 * n, 4);
      for (int k = 0; k < b.rows; ++k) {
        for (int i = 0; i < 4; ++i) {
          sum += static_cast<int8_t>(a.data[m][4 * k + i]) * b.data[k][4 * n + i];
        }
      }
      std::memcpy(c.data[m] + 4 * n, &sum, 4);
    }
  }
}

static float bf16(const uint8_t* bytes) {
  const uint32_t bits = static_cast<uint32_t>(bytes[0]) << 16 | static_cast<uint32_t>(bytes[1])
                                                                    << 24;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

// c[m][n] += the products of two bf16 each: even and odd ones are summed apart, then together.
static void dpbf16ps(int c_index, int a_index, int b_index) {
  Tile& c = tile(c_index);
  const Tile& a = tile(a_index);
  const Tile& b = tile(b_index);
  if (!shapes_match(c, a, b)) return;
  for (int m = 0; m < c.rows; ++m) {
    for (int n = 0; n < c.bytes / 4; ++n) {
      float even = 0.0f, odd = 0.0f;
      for (int k = 0; k < b.rows; ++k) {
        even += bf16(a.data[m] + 4 * k) * bf16(b.data[k] + 4 * n);
        odd += bf16(a.data[m] + 4 * k + 2) * bf16(b.data[k] + 4 * n + 2);
      }
      float sum;
      std::memcpy(&sum, c.data[m] + 4 * n, 4);
      sum += even + odd;
      std::memcpy(c.data[m] + 4 * n, &sum, 4);
    }
  }
}

}  // namespace amx_model
}  // namespace
}  // namespace lanner

// After the instructions it is written in.
#include "kernels/gemm/amx_tiles.h"

namespace lanner {

const GemmKernelTable kGemmAmxModel = {kAmxKernels, kNumAmxKernels};

}  // namespace lanner
