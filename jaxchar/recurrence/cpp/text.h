// Reading and sampling of texts, a character at a time. Every text is computed by itself: the other texts of
// a call change no bit of it.
//
// Letters: B texts, R rows of a text (1, or the length of a window, see generate.py), N characters at most,
// V symbols, D features, H hidden size. Kernels are packed in panels and have BLOCKS * H columns.

#pragma once

#include <vector>

#include "layer.h"

namespace jaxchar {

constexpr Size WORTH_SHARING = 1 << 18;  // multiplications from which threads pay off

struct TextLayer {
  Size D, H;
  Panels input_panels;      // [BLOCKS * H / WIDTH, D, WIDTH]; null in the first layer
  const float* bias;        // [BLOCKS, H]; null in the first layer
  Panels recurrent_panels;  // [BLOCKS * H / WIDTH, H, WIDTH]
  float *states, *hiddens;  // [B, R, H]; the same memory for a GRU
};

template <class Cell>
struct Texts {
  Size B, R, N, V;
  bool windowed;  // whether a text's row at its position restarts from zero before each character
  const float *table, *head_bias;  // [V, BLOCKS, H] with the bias; [V]
  Panels head_panels;              // [V / WIDTH, H, WIDTH]
  std::vector<TextLayer> layers;
  const int32_t *ids, *lengths;  // [B, N] to read; [B], how many to read, or to sample if there is noise
  const float* noise;            // [B, N, V], times temperature added to the logits; character i's is in
  float temperature;             // row noise_begin + i; null: nothing is sampled
  Size noise_begin;
  int32_t *last, *position, *sampled;  // [B], [B], see generate.py; [B, N]
  float* logits;                       // [B, N, V] before each character; may be null

  void run(xla::ffi::ThreadPool& pool) const {
    if (B == 1) return advance({0, 1}, &pool);
    const Size slices = num_slices(pool, B, R);
    in_parallel(pool, slices, [this, slices](Size i) { advance(part_of(B, slices, i), nullptr); });
  }

 private:
  // Advance some texts together, each until its length. A single text uses all threads.
  void advance(Part part, xla::ffi::ThreadPool* pool) const {
    std::vector<Size> active;
    for (Size i = 0; i < N; i++) {
      active.clear();
      for (Size text = part.begin; text < part.end; text++) {
        if (i < lengths[text]) active.push_back(text);
      }
      if (active.empty()) return;
      const float* features = read(active, pool);
      const float* predictions = logits || noise ? predict(active, features, pool) : nullptr;
      for (Size j = 0; j < Size(active.size()); j++) {
        const Size text = active[j], here = text * N + i;
        if (logits) std::memcpy(logits + here * V, predictions + j * V, V * sizeof(float));
        if (noise) sampled[here] = sample(predictions + j * V, noise + (here + noise_begin) * V);
        last[text] = noise ? sampled[here] : ids[here];
      }
    }
  }

  // Read the last character of each active text in all its rows; return the features, [texts, R, H].
  const float* read(const std::vector<Size>& active, xla::ffi::ThreadPool* pool) const {
    thread_local Scratch sums_, hiddens_, features_;
    Size widest = 0;
    for (const TextLayer& layer : layers) widest = std::max(widest, layer.H);
    const Size rows = active.size() * R;
    float *sums = sums_.at_least(rows * BLOCKS * widest), *hiddens = hiddens_.at_least(rows * widest);
    float* features = features_.at_least(rows * widest);
    for (const TextLayer& layer : layers) {
      const Size H = layer.H, columns = BLOCKS * H;
      for (Size row = 0; row < rows; row++) {
        const Size text = active[row / R], at = (text * R + row % R) * H;
        if (windowed && row % R == position[text]) {
          std::memset(layer.states + at, 0, H * sizeof(float));
          std::memset(layer.hiddens + at, 0, H * sizeof(float));
        }
        const float* symbol = table + std::clamp<Size>(last[text], 0, V - 1) * columns;
        std::memcpy(sums + row * columns, layer.D ? layer.bias : symbol, columns * sizeof(float));
        std::memcpy(hiddens + row * H, layer.hiddens + at, H * sizeof(float));
      }
      if (layer.D) add(pool, rows, features, layer.input_panels, layer.D, sums, columns);
      add(pool, rows, hiddens, layer.recurrent_panels, H, sums, columns);
      for (Size row = 0; row < rows; row++) {
        const Size at = (active[row / R] * R + row % R) * H;
        Cell::forward(H, sums + row * columns, layer.states + at, layer.states + at, layer.hiddens + at);
        std::memcpy(features + row * H, layer.hiddens + at, H * sizeof(float));
      }
    }
    for (Size text : active) position[text] = (position[text] + 1) % R;
    return features;
  }

  // Return the next characters' logits, [texts, V], from the oldest row of each text.
  const float* predict(const std::vector<Size>& active, const float* features,
                       xla::ffi::ThreadPool* pool) const {
    thread_local Scratch oldest_, predictions_;
    const Size texts = active.size(), H = layers.back().H;
    float *oldest = oldest_.at_least(texts * H), *predictions = predictions_.at_least(texts * V);
    for (Size j = 0; j < texts; j++) {
      std::memcpy(oldest + j * H, features + (j * R + position[active[j]]) * H, H * sizeof(float));
      std::memcpy(predictions + j * V, head_bias, V * sizeof(float));
    }
    add(pool, texts, oldest, head_panels, H, predictions, V);
    return predictions;
  }

  // Add a product, on all threads if it is large enough.
  static void add(xla::ffi::ThreadPool* pool, Size rows, const float* a, const Panels& panels, Size depth,
                  float* to, Size columns) {
    if (!pool || rows * depth * columns < WORTH_SHARING) {
      return add_product(rows, a, panels, depth, to, columns, {0, columns});
    }
    const Size panels_ = ceil_div(columns, WIDTH), tasks = std::min<Size>(pool->num_threads(), panels_);
    in_parallel(*pool, tasks, [=](Size i) {
      const Part part = part_of(panels_, tasks, i);
      add_product(rows, a, panels, depth, to, columns,
                  {part.begin * WIDTH, std::min(part.end * WIDTH, columns)});
    });
  }

  // Return the index of the largest sum, the first of equals. NaN, from a diverged model, counts as largest.
  int32_t sample(const float* predictions, const float* noise) const {
    int32_t best = 0;
    float most = 0.0f;
    for (Size v = 0; v < V; v++) {
      const float sum = predictions[v] + temperature * noise[v];
      if (v == 0 || sum > most || (sum != sum && most == most)) {
        best = v;
        most = sum;
      }
    }
    return best;
  }
};

}  // namespace jaxchar
