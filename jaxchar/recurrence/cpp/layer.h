// A layer over time, and its gradient. Arrays are float32, row-major, time first; an absent one is a null
// pointer. Every row of a batch is computed by itself. Every weight's gradient is summed in the order of time
// and batch. So neither the number of threads nor the number of rows on a device changes any bit of a row's
// results, and the number of threads changes no bit of the weights' gradients.
//
// Letters: T time steps, B batch, D input features, V symbols, H hidden size, G gate columns.

#pragma once

#include "cells.h"

namespace jaxchar {

constexpr Size SLICE_ROWS = 48;      // rows that pass through time together; they fit the caches of a core
constexpr Size CHUNK_ROWS = 256;     // rows whose products with gradients are summed together,
constexpr Size CHUNK_COLUMNS = 256;  // and columns at a time
constexpr Size PREFETCHED_ROWS = 8;  // prefetch distance: the hardware does not predict steps of whole rows

// Number of slices that B texts or sequences, of some rows each, are split into: a multiple of the threads,
// so that the load is even.
inline Size num_slices(const xla::ffi::ThreadPool& pool, Size B, Size rows_of_each = 1) {
  const Size threads = pool.num_threads();
  return std::min(B, ceil_div(B * rows_of_each, SLICE_ROWS * threads) * threads);
}

// What a layer reads: rows of features, or ids of symbols, which mean their one-hot rows.
struct Inputs {
  Size D, V;           // D features or V symbols; the other one is 0
  const float* rows;   // [T, B, D]
  const int32_t* ids;  // [T, B]; clamped to 0 ... V - 1
  const float* scale;  // [T, B], of the one-hot rows; null: 1

  Size id(Size position) const { return std::clamp<Size>(ids[position], 0, V - 1); }
  float scale_of(Size position) const { return scale ? scale[position] : 1.0f; }
};

inline void multiply_by_mask(Size size, const float* rows, const float* mask, float* to) {
  for (Size i = 0; i < size; i++) to[i] = rows[i] * mask[i];
}

// ---- forward ------------------------------------------------------------------------------------

template <class Cell>
struct Forward {
  static constexpr Size GATES = Cell::GATES;
  static constexpr Size INPUT_BLOCK[BLOCKS] = {0, 1, 2, 3};
  Size T, B, H;
  Inputs inputs;
  const float *input_kernel, *bias, *recurrent_kernel;  // [D or V, G], [G], [H, G]
  const float *state_0, *hidden_0, *mask;  // [B, H]; the mask multiplies the recurrent product's input
  float *hiddens, *states, *saved;         // [T, B, H], [T, B, H], [T, B, BLOCKS, H]

  void run(xla::ffi::ThreadPool& pool) const {
    thread_local Scratch packed_input, packed_recurrent;
    const float* input_panels = panels(pool, packed_input, input_kernel, inputs.D);
    const float* recurrent_panels = panels(pool, packed_recurrent, recurrent_kernel, H);
    const Size slices = num_slices(pool, B);
    in_parallel(pool, slices, [this, slices, input_panels, recurrent_panels](Size i) {
      slice(part_of(B, slices, i), input_panels, recurrent_panels);
    });
  }

 private:
  // Pack a kernel's columns as [block of units, gate, depth, WIDTH].
  const float* panels(xla::ffi::ThreadPool& pool, Scratch& scratch, const float* kernel, Size depth) const {
    const Size count = depth ? ceil_div(H, WIDTH) * GATES : 0;
    float* to = scratch.at_least(count * depth * WIDTH);
    in_parallel(pool, count, [this, kernel, depth, to](Size i) {
      const Size unit = i / GATES * WIDTH, gate = i % GATES;
      pack(kernel + gate * H + unit, GATES * H, depth, H - unit, to + i * depth * WIDTH);
    });
    return to;
  }

  void slice(Part part, const float* input_panels, const float* recurrent_panels) const {
    thread_local Scratch dropped;
    for (Size t = 0; t < T; t++) {
      const float* hidden = (t ? hiddens + (t - 1) * B * H : hidden_0) + part.begin * H;
      const float* before = t ? states + (t - 1) * B * H : state_0;
      float* sums = saved + (t * B + part.begin) * BLOCKS * H;
      if (mask) {
        float* masked = dropped.at_least(part.size() * H);
        multiply_by_mask(part.size() * H, hidden, mask + part.begin * H, masked);
        hidden = masked;
      }
      for (Size row = part.begin; row < part.end; row++) begin(t * B + row);
      if (inputs.D) {
        const float* rows = inputs.rows + (t * B + part.begin) * inputs.D;
        add_product(part.size(), rows, input_panels, inputs.D, INPUT_BLOCK, sums);
      }
      add_product(part.size(), hidden, recurrent_panels, H, Cell::RECURRENT_BLOCK, sums);
      for (Size row = part.begin; row < part.end; row++) {
        const Size here = t * B + row;
        Cell::forward(H, saved + here * BLOCKS * H, before + row * H, states + here * H, hiddens + here * H);
      }
    }
  }

  // Set the sums to the bias, plus the symbol's row of the kernel.
  void begin(Size position) const {
    const Size G = GATES * H;
    float* sums = saved + position * BLOCKS * H;
    std::memcpy(sums, bias, G * sizeof(float));
    std::memset(sums + G, 0, (BLOCKS * H - G) * sizeof(float));
    if (!inputs.V) return;
    const float *symbol = input_kernel + inputs.id(position) * G, scale = inputs.scale_of(position);
    for (Size g = 0; g < G; g++) sums[g] += scale * symbol[g];
  }

  void add_product(Size rows, const float* a, const float* panel, Size depth, const Size* block,
                   float* sums) const {
    for (Size unit = 0; unit < H; unit += WIDTH) {
      for (Size g = 0; g < GATES; g++, panel += depth * WIDTH) {
        multiply(rows, a, panel, depth, sums + block[g] * H + unit, BLOCKS * H, H - unit, Result::ADDED);
      }
    }
  }
};

// ---- backward -----------------------------------------------------------------------------------

template <class Cell>
struct Backward {
  Size T, B, D, H;
  const float *input_kernel, *recurrent_kernel;  // [D, G], [H, G]
  const float *state_0, *mask;                   // [B, H]
  const float *states, *saved, *d_hiddens;       // [T, B, H], [T, B, BLOCKS, H], [T, B, H]
  float *d_projected, *d_recurrent;              // [T, B, G] each; the same memory for an LSTM
  float* d_rows;                                 // [T, B, D]
  float *d_state, *d_hidden;                     // [B, H]: on entry of the last step, on return of the first

  void run(xla::ffi::ThreadPool& pool) const {
    thread_local Scratch packed_input, packed_recurrent;
    const float* input_panels = panels(pool, packed_input, input_kernel, D);
    const float* recurrent_panels = panels(pool, packed_recurrent, recurrent_kernel, H);
    const Size slices = num_slices(pool, B);
    in_parallel(pool, slices, [this, slices, input_panels, recurrent_panels](Size i) {
      slice(part_of(B, slices, i), input_panels, recurrent_panels);
    });
  }

 private:
  Size G() const { return Cell::GATES * H; }

  // Pack a transposed kernel's columns as [block of units, G, WIDTH].
  const float* panels(xla::ffi::ThreadPool& pool, Scratch& scratch, const float* kernel, Size columns) const {
    const Size depth = G(), blocks = ceil_div(columns, WIDTH);
    float* to = scratch.at_least(blocks * depth * WIDTH);
    in_parallel(pool, blocks, [=](Size i) {
      pack_transposed(kernel + i * WIDTH * depth, depth, depth, columns - i * WIDTH, to + i * depth * WIDTH);
    });
    return to;
  }

  void slice(Part part, const float* input_panels, const float* recurrent_panels) const {
    for (Size t = T - 1; t >= 0; t--) {
      const float* before = t ? states + (t - 1) * B * H : state_0;
      for (Size row = part.begin; row < part.end; row++) {
        const Size here = t * B + row;
        for (Size u = 0; u < H; u++) d_hidden[row * H + u] += d_hiddens[here * H + u];
        Cell::backward(H, saved + here * BLOCKS * H, before + row * H, states + here * H, d_hidden + row * H,
                       d_state + row * H, d_projected + here * G(), d_recurrent + here * G());
      }
      const Size here = t * B + part.begin;
      through_recurrence(part, d_recurrent + here * G(), recurrent_panels);
      for (Size unit = 0; unit < D; unit += WIDTH) {
        multiply(part.size(), d_projected + here * G(), input_panels + unit * G(), G(),
                 d_rows + here * D + unit, D, D - unit, Result::WRITTEN);
      }
    }
  }

  void through_recurrence(Part part, const float* gradients, const float* panels) const {
    float product[SLICE_ROWS * WIDTH];
    for (Size unit = 0; unit < H; unit += WIDTH) {
      const float* panel = panels + unit * G();
      float* to = d_hidden + part.begin * H + unit;
      if (!mask) {
        multiply(part.size(), gradients, panel, G(), to, H, H - unit, Result::ADDED);
        continue;
      }
      multiply(part.size(), gradients, panel, G(), product, WIDTH, WIDTH, Result::WRITTEN);
      for (Size row = 0; row < part.size(); row++) {
        const float *masked = mask + (part.begin + row) * H + unit, *d = product + row * WIDTH;
        for (Size u = 0; u < std::min<Size>(WIDTH, H - unit); u++) to[row * H + u] += d[u] * masked[u];
      }
    }
  }
};

// ---- the weights' gradients ---------------------------------------------------------------------

struct WeightGradients {
  Size T, B, H, G;
  Inputs inputs;
  const float *hidden_0, *hiddens;                      // [B, H], [T, B, H]: times the mask
  const float *d_projected, *d_recurrent;               // [T, B, G]
  float *d_input_kernel, *d_bias, *d_recurrent_kernel;  // [D or V, G], [G], [H, G]

  // Each task sums some of the columns, over time and batch in their order.
  void run(xla::ffi::ThreadPool& pool) const {
    const Size panels = ceil_div(G, WIDTH), tasks = std::min<Size>(pool.num_threads(), panels);
    in_parallel(pool, tasks, [this, panels, tasks](Size i) {
      const Part part = part_of(panels, tasks, i);
      columns({part.begin * WIDTH, std::min(part.end * WIDTH, G)});
    });
  }

 private:
  void columns(Part part) const {
    for (Size row = 0; row < inputs.D + inputs.V; row++) clear(d_input_kernel + row * G, part);
    for (Size row = 0; row < H; row++) clear(d_recurrent_kernel + row * G, part);
    clear(d_bias, part);
    thread_local Scratch features_, hidden_, panels_;
    float *features = features_.at_least(CHUNK_ROWS * inputs.D), *hidden = hidden_.at_least(CHUNK_ROWS * H);
    float* panels = panels_.at_least(CHUNK_ROWS * CHUNK_COLUMNS);
    for (Size begin = 0; begin < T * B; begin += CHUNK_ROWS) {
      const Part chunk = {begin, std::min(begin + CHUNK_ROWS, T * B)};
      pack_strips(
          chunk, inputs.D, [this](Size n) { return inputs.rows + n * inputs.D; }, features);
      pack_strips(
          chunk, H, [this](Size n) { return n < B ? hidden_0 + n * H : hiddens + (n - B) * H; }, hidden);
      for (Size column = part.begin; column < part.end; column += CHUNK_COLUMNS) {
        const Part some = {column, std::min(column + CHUNK_COLUMNS, part.end)};
        pack_panels(chunk, d_projected, some, panels);
        add_to_symbols(chunk, some);
        add_products(inputs.D, features, chunk.size(), panels, d_input_kernel, some);
        if (d_recurrent != d_projected) pack_panels(chunk, d_recurrent, some, panels);
        add_products(H, hidden, chunk.size(), panels, d_recurrent_kernel, some);
      }
    }
  }

  static void clear(float* row, Part part) { std::memset(row + part.begin, 0, part.size() * sizeof(float)); }

  // Pack some rows as strips [strip, row, columns of the strip].
  template <class Row>
  static void pack_strips(Part chunk, Size columns, Row row, float* to) {
    const Size strips = num_strips(columns);
    for (Size i = 0; i < strips; i++) {
      const Part strip = part_of(columns, strips, i);
      for (Size n = chunk.begin; n < chunk.end; n++, to += strip.size()) {
        const float* from = row(n) + strip.begin;
        if (strip.size() == MAX_ROWS) {
          std::memcpy(to, from, MAX_ROWS * sizeof(float));
        } else {
          for (Size c = 0; c < strip.size(); c++) to[c] = from[c];
        }
      }
    }
  }

  // Pack some columns of some rows of gradients as panels [panel, row, WIDTH].
  void pack_panels(Part chunk, const float* gradients, Part some, float* to) const {
    for (Size n = chunk.begin; n < chunk.end; n++, to += WIDTH) {
      for (Size column = some.begin; column < some.end; column += WIDTH) {
        const float* from = gradients + n * G + column;
        __builtin_prefetch(from + PREFETCHED_ROWS * G);
        pack(from, G, 1, some.end - column, to + (column - some.begin) * chunk.size());
      }
    }
  }

  // Add the transposed strips times the panels to some columns of a kernel's gradient.
  void add_products(Size rows, const float* strips, Size depth, const float* panels, float* to,
                    Part some) const {
    for (Size column = some.begin; column < some.end; column += WIDTH) {
      const float* panel = panels + (column - some.begin) * depth;
      for (Size i = 0; i < num_strips(rows); i++) {
        const Part strip = part_of(rows, num_strips(rows), i);
        multiply_strip(strip.size(), strips + strip.begin * depth, {1, strip.size()}, panel, depth,
                       to + strip.begin * G + column, G, some.end - column, Result::ADDED);
      }
    }
  }

  // Add gradients to that of the bias, and to those of the symbols' rows.
  void add_to_symbols(Part chunk, Part some) const {
    for (Size n = chunk.begin; n < chunk.end; n++) {
      const float* gradients = d_projected + n * G;
      if (!inputs.V) {
        for (Size g = some.begin; g < some.end; g++) d_bias[g] += gradients[g];
        continue;
      }
      float *symbol = d_input_kernel + inputs.id(n) * G, scale = inputs.scale_of(n);
#pragma GCC ivdep
      for (Size g = some.begin; g < some.end; g++) {
        d_bias[g] += gradients[g];
        symbol[g] += scale * gradients[g];
      }
    }
  }
};

}  // namespace jaxchar
