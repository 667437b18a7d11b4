// Products of row-major matrices, in tiles that stay in registers. The right factor is packed beforehand, in
// contiguous panels of WIDTH columns. Sums run along the depth in its order, whatever the number of rows.

#pragma once

#include <array>
#include <cstring>
#include <utility>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "threads.h"

namespace jaxchar {

// Numbers in a vector, and rows of a tile. A tile takes two registers a row for its sums, two for the panel
// and one for a factor; AVX-512 and NEON have 32 registers, AVX and SSE 16.
#if defined(__AVX512F__)
constexpr int LANES = 16, MAX_ROWS = 14;
#elif defined(__AVX__)
constexpr int LANES = 8, MAX_ROWS = 6;
#elif defined(__aarch64__)
constexpr int LANES = 4, MAX_ROWS = 14;
#else
constexpr int LANES = 4, MAX_ROWS = 6;
#endif
constexpr int WIDTH = 2 * LANES;  // columns of a tile

typedef float Vector __attribute__((vector_size(LANES * sizeof(float))));

// Keep a value in a register: GCC would load it again from memory for every product.
#if defined(__x86_64__)
#define IN_REGISTER(value) asm("" : "+v"(value))
#else
#define IN_REGISTER(value)
#endif

// Distances in memory: from one row to the next, and from one step along the depth to the next.
struct Stride {
  Size row, step;
};

enum class Result { WRITTEN, ADDED };  // overwrite the result, or add to it

// Unroll a loop over a tile's rows or vectors: only then do its sums stay in registers from load to store.
#define EACH _Pragma("GCC unroll 16")

inline Vector load(const float* from) {
  Vector vector;
  std::memcpy(&vector, from, sizeof vector);
  return vector;
}

inline void store(float* to, Vector vector) { std::memcpy(to, &vector, sizeof vector); }

// A column of a tile's left factor. Five rows share a register: a processor's address takes one more register
// times 1, 2 or 4 for free. GCC would keep a register for each row and runs out of them.
template <int ROWS>
struct Column {
  static constexpr int SHARING = 5;
  static constexpr int SHARED = ceil_div(ROWS, SHARING);
  const char* at[SHARED];      // row 0, 5, 10
  Size row, three_rows, step;  // distances in bytes

  Column(const float* a, Stride stride)
      : row(stride.row * sizeof(float)), three_rows(3 * row), step(stride.step * sizeof(float)) {
    EACH for (int i = 0; i < SHARED; i++) {
      at[i] = reinterpret_cast<const char*>(a) + i * SHARING * row;
      asm("" : "+r"(at[i]));  // keeps the compiler from computing it anew
    }
    asm("" : "+r"(three_rows));
  }

  float operator[](int r) const {
    const int within = r % SHARING;
    float factor;
    std::memcpy(&factor, at[r / SHARING] + (within == 3 ? three_rows : within * row), sizeof factor);
    return factor;
  }

  void advance() { EACH for (int i = 0; i < SHARED; i++) at[i] += step; }
};

// Multiply [ROWS, depth] numbers by a panel [depth, WIDTH], into rows that are `to_stride` apart. The columns
// after these are prefetched: they usually come next.
template <int ROWS>
void multiply_tile(const float* a, Stride stride, const float* panel, Size depth, float* to, Size to_stride,
                   Result result) {
  Vector sum[ROWS][2] = {};
  EACH for (int r = 0; r < ROWS; r++) __builtin_prefetch(to + r * to_stride + WIDTH, 1);
  if (result == Result::ADDED) {
    EACH for (int r = 0; r < ROWS; r++) {
      sum[r][0] = load(to + r * to_stride);
      sum[r][1] = load(to + r * to_stride + LANES);
    }
  }
  Column<ROWS> column(a, stride);
#pragma GCC unroll 4
  for (Size k = 0; k < depth; k++, column.advance()) {
    Vector left = load(panel + k * WIDTH), right = load(panel + k * WIDTH + LANES);
    IN_REGISTER(left);
    IN_REGISTER(right);
    EACH for (int r = 0; r < ROWS; r++) {
      float factor = column[r];
      sum[r][0] += factor * left;
      sum[r][1] += factor * right;
    }
  }
  EACH for (int r = 0; r < ROWS; r++) {
    store(to + r * to_stride, sum[r][0]);
    store(to + r * to_stride + LANES, sum[r][1]);
  }
}

using MultiplyTile = void (*)(const float*, Stride, const float*, Size, float*, Size, Result);

template <int... ROWS>
constexpr std::array<MultiplyTile, sizeof...(ROWS)> tiles_of(std::integer_sequence<int, ROWS...>) {
  return {multiply_tile<ROWS + 1>...};
}

constexpr auto TILES = tiles_of(std::make_integer_sequence<int, MAX_ROWS>());  // of 1 row, 2 rows, ...

// Number of strips, of nearly equal sizes, that rows are split into.
inline Size num_strips(Size rows) { return ceil_div(rows, MAX_ROWS); }

// Multiply a strip of rows by the first `width` columns of a panel.
inline void multiply_strip(Size rows, const float* a, Stride stride, const float* panel, Size depth,
                           float* to, Size to_stride, Size width, Result result) {
  if (width >= WIDTH) return TILES[rows - 1](a, stride, panel, depth, to, to_stride, result);
  float tile[MAX_ROWS * WIDTH];
  TILES[rows - 1](a, stride, panel, depth, tile, WIDTH, Result::WRITTEN);
  for (Size r = 0; r < rows; r++) {
    for (Size c = 0; c < width; c++) {
      float& sum = to[r * to_stride + c];
      sum = result == Result::ADDED ? sum + tile[r * WIDTH + c] : tile[r * WIDTH + c];
    }
  }
}

// Multiply any number of rows, [rows, depth], by the first `width` columns of a panel.
inline void multiply(Size rows, const float* a, const float* panel, Size depth, float* to, Size to_stride,
                     Size width, Result result) {
  const Size strips = num_strips(rows);
  for (Size i = 0; i < strips; i++) {
    const Part strip = part_of(rows, strips, i);
    multiply_strip(strip.size(), a + strip.begin * depth, {depth, 1}, panel, depth,
                   to + strip.begin * to_stride, to_stride, width, result);
  }
}

// Multiply one row by several panels at once: one panel alone would wait for its own sums. Same order of
// sums.
template <int PANELS>
void multiply_row(const float* a, const float* panels, Size depth, float* to) {
  Vector sum[PANELS][2];
  EACH for (int p = 0; p < PANELS; p++) {
    sum[p][0] = load(to + p * WIDTH);
    sum[p][1] = load(to + p * WIDTH + LANES);
  }
#pragma GCC unroll 4
  for (Size k = 0; k < depth; k++) {
    EACH for (int p = 0; p < PANELS; p++) {
      const float* panel = panels + (p * depth + k) * WIDTH;
      sum[p][0] += a[k] * load(panel);
      sum[p][1] += a[k] * load(panel + LANES);
    }
  }
  EACH for (int p = 0; p < PANELS; p++) {
    store(to + p * WIDTH, sum[p][0]);
    store(to + p * WIDTH + LANES, sum[p][1]);
  }
}

// Add the product of [rows, depth] and some columns of a packed matrix to these columns of [rows, columns].
inline void add_product(Size rows, const float* a, const float* panels, Size depth, float* to, Size columns,
                        Part some) {
  constexpr int AT_ONCE = 4;
  Size column = some.begin;
  if (rows == 1) {
    for (; column + AT_ONCE * WIDTH <= some.end; column += AT_ONCE * WIDTH) {
      multiply_row<AT_ONCE>(a, panels + column * depth, depth, to + column);
    }
  }
  for (; column < some.end; column += WIDTH) {
    multiply(rows, a, panels + column * depth, depth, to + column, columns, columns - column, Result::ADDED);
  }
}

// A matrix packed in panels, as numbers of 32 bits; or of fewer bits: times its column's scale, each is a
// weight. There is less of it to be read.
struct Panels {
  const float* floats;
  const int8_t* bytes;     // whole numbers
  const uint16_t* halves;  // the upper halves of 32-bit numbers: bfloat16
  const float* scales;     // [columns] of bytes and halves
};

// Load LANES numbers of fewer bits as numbers of 32. In plain C++ GCC would take them apart one by one.
#if defined(__AVX512F__)
inline Vector widened(const int8_t* from) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  return Vector(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)));
}
inline Vector widened(const uint16_t* from) {
  const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return Vector(_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16)));
}
#elif defined(__AVX2__)
inline Vector widened(const int8_t* from) {
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
  return Vector(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)));
}
inline Vector widened(const uint16_t* from) {
  const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  return Vector(_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16)));
}
#else
inline Vector widened(const int8_t* from) {
  Vector vector;
  EACH for (int i = 0; i < LANES; i++) vector[i] = float(from[i]);
  return vector;
}
inline Vector widened(const uint16_t* from) {
  Vector vector;
  EACH for (int i = 0; i < LANES; i++) {
    const uint32_t bits = uint32_t(from[i]) << 16;
    float number;
    std::memcpy(&number, &bits, sizeof number);
    vector[i] = number;
  }
  return vector;
}
#endif

// Add sums times their columns' scales to `width` numbers.
inline void add_scaled(const float* sums, const float* scales, Size width, float* to) {
  for (Size c = 0; c < width; c++) to[c] = __builtin_fmaf(scales[c], sums[c], to[c]);
}

// Multiply one row by several panels of fewer bits at once, in the order of sums of multiply_tile.
template <int PANELS, class Weight>
void multiply_row_narrow(const float* a, const Weight* panels, Size depth, float* sums) {
  Vector sum[PANELS][2] = {};
#pragma GCC unroll 2
  for (Size k = 0; k < depth; k++) {
    EACH for (int p = 0; p < PANELS; p++) {
      const Weight* panel = panels + (p * depth + k) * WIDTH;
      sum[p][0] += a[k] * widened(panel);
      sum[p][1] += a[k] * widened(panel + LANES);
    }
  }
  EACH for (int p = 0; p < PANELS; p++) {
    store(sums + p * WIDTH, sum[p][0]);
    store(sums + p * WIDTH + LANES, sum[p][1]);
  }
}

// Add the product of [rows, depth] and some columns of a matrix of fewer bits to these columns of [rows,
// columns]. A row has the same bits, however many there are.
template <class Weight>
void add_narrow_product(Size rows, const float* a, const Weight* panels, const float* scales, Size depth,
                        float* to, Size columns, Part some) {
  constexpr int AT_ONCE = 4;
  constexpr Size WORTH_WIDENING = 4;  // rows that share a panel of 32-bit numbers
  thread_local Scratch panel_;
  float sums[std::max<int>(AT_ONCE, MAX_ROWS) * WIDTH];
  Size column = some.begin;
  for (; rows < WORTH_WIDENING && column + AT_ONCE * WIDTH <= some.end; column += AT_ONCE * WIDTH) {
    for (Size r = 0; r < rows; r++) {
      multiply_row_narrow<AT_ONCE>(a + r * depth, panels + column * depth, depth, sums);
      add_scaled(sums, scales + column, AT_ONCE * WIDTH, to + r * columns + column);
    }
  }
  for (; rows < WORTH_WIDENING && column < some.end; column += WIDTH) {
    for (Size r = 0; r < rows; r++) {
      multiply_row_narrow<1>(a + r * depth, panels + column * depth, depth, sums);
      add_scaled(sums, scales + column, std::min<Size>(WIDTH, columns - column), to + r * columns + column);
    }
  }
  for (; column < some.end; column += WIDTH) {
    const Size width = std::min<Size>(WIDTH, columns - column), strips = num_strips(rows);
    float* panel = panel_.at_least(depth * WIDTH);
    for (Size i = 0; i < depth * WIDTH; i += LANES) store(panel + i, widened(panels + column * depth + i));
    for (Size i = 0; i < strips; i++) {
      const Part strip = part_of(rows, strips, i);
      multiply_strip(strip.size(), a + strip.begin * depth, {depth, 1}, panel, depth, sums, WIDTH, WIDTH,
                     Result::WRITTEN);
      for (Size r = strip.begin; r < strip.end; r++) {
        add_scaled(sums + (r - strip.begin) * WIDTH, scales + column, width, to + r * columns + column);
      }
    }
  }
}

// Add the product of [rows, depth] and some columns of a packed matrix, see above.
inline void add_product(Size rows, const float* a, const Panels& panels, Size depth, float* to, Size columns,
                        Part some) {
  if (panels.bytes) return add_narrow_product(rows, a, panels.bytes, panels.scales, depth, to, columns, some);
  if (panels.halves) {
    return add_narrow_product(rows, a, panels.halves, panels.scales, depth, to, columns, some);
  }
  add_product(rows, a, panels.floats, depth, to, columns, some);
}

// Pack some columns of a [depth, ...] matrix into a panel, padded with zeros.
inline void pack(const float* matrix, Size stride, Size depth, Size columns, float* panel) {
  for (Size k = 0; k < depth; k++) {
    if (columns >= WIDTH) {
      std::memcpy(panel + k * WIDTH, matrix + k * stride, WIDTH * sizeof(float));
    } else {
      std::memset(panel + k * WIDTH, 0, WIDTH * sizeof(float));
      std::memcpy(panel + k * WIDTH, matrix + k * stride, columns * sizeof(float));
    }
  }
}

// Pack some rows of a [..., depth] matrix, transposed, into a panel; in square blocks, which suits the
// caches.
inline void pack_transposed(const float* matrix, Size stride, Size depth, Size rows, float* panel) {
  for (Size from = 0; from < depth; from += WIDTH) {
    Size to = std::min<Size>(from + WIDTH, depth);
    for (Size c = 0; c < WIDTH; c++) {
      for (Size k = from; k < to; k++) panel[k * WIDTH + c] = c < rows ? matrix[c * stride + k] : 0.0f;
    }
  }
}

}  // namespace jaxchar
