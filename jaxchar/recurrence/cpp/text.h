// Reading and writing of texts, a character at a time. Every text is computed by itself: which others are
// read or written beside it changes no bit of it.
//
// Letters: B texts, R rows of a text (1; or as many as a window has characters, see generate.py), N characters
// at the most, V symbols, D features, H hidden size. Kernels lie in panels, with BLOCKS of H columns each.

#pragma once

#include <vector>

#include "layer.h"

namespace jaxchar {

constexpr Size WORTH_SHARING = 1 << 18;  // products of two numbers: from so many on, threads gain more than they cost

struct TextLayer {
  Size D, H;
  const float *input_panels, *bias;  // [BLOCKS * H / WIDTH, D, WIDTH], [BLOCKS, H]; none in the first layer
  const float* recurrent_panels;     // [BLOCKS * H / WIDTH, H, WIDTH]
  float *states, *hiddens;           // [B, R, H], the same memory where they are the same
};

template <class Cell>
struct Texts {
  Size B, R, N, V;
  bool windowed;  // whether one of a text's rows begins anew with each character: the one at its place
  const float *table, *head_panels, *head_bias;  // [V, BLOCKS, H] bias and all, [V / WIDTH, H, WIDTH], [V]
  std::vector<TextLayer> layers;
  const int32_t *ids, *lengths;  // [B, N] to read, and how many of them; where there is noise, how many to draw
  const float* noise;            // [B, N, V], to add to the logits so many times: character i's in row
  float temperature;             // noise_begin + i; without noise nothing is drawn
  Size noise_begin;
  int32_t *last, *place, *drawn;  // [B] each, see generate.py; [B, N]
  float* logits;                  // [B, N, V] before each character; may be left out

  void run(xla::ffi::ThreadPool& pool) const {
    if (B == 1) return advance({0, 1}, &pool);
    const Size slices = num_slices(pool, B, R);
    in_parallel(pool, slices, [this, slices](Size i) { advance(part_of(B, slices, i), nullptr); });
  }

 private:
  // Read and write some texts, all of them side by side for as long as they go on. A single one has all threads.
  void advance(Part part, xla::ffi::ThreadPool* pool) const {
    std::vector<Size> going;
    for (Size i = 0; i < N; i++) {
      going.clear();
      for (Size text = part.begin; text < part.end; text++) {
        if (i < lengths[text]) going.push_back(text);
      }
      if (going.empty()) return;
      const float* features = read(going, pool);
      const float* predictions = logits || noise ? predict(going, features, pool) : nullptr;
      for (Size j = 0; j < Size(going.size()); j++) {
        const Size text = going[j], here = text * N + i;
        if (logits) std::memcpy(logits + here * V, predictions + j * V, V * sizeof(float));
        if (noise) drawn[here] = draw(predictions + j * V, noise + (here + noise_begin) * V);
        last[text] = noise ? drawn[here] : ids[here];
      }
    }
  }

  // Read the last character of each text in all its rows; return the features, [texts, R, H].
  const float* read(const std::vector<Size>& going, xla::ffi::ThreadPool* pool) const {
    thread_local Scratch sums_, hiddens_, features_;
    Size widest = 0;
    for (const TextLayer& layer : layers) widest = std::max(widest, layer.H);
    const Size rows = going.size() * R;
    float *sums = sums_.at_least(rows * BLOCKS * widest), *hiddens = hiddens_.at_least(rows * widest);
    float* features = features_.at_least(rows * widest);
    for (const TextLayer& layer : layers) {
      const Size H = layer.H, columns = BLOCKS * H;
      for (Size row = 0; row < rows; row++) {
        const Size text = going[row / R], at = (text * R + row % R) * H;
        if (windowed && row % R == place[text]) {
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
        const Size at = (going[row / R] * R + row % R) * H;
        Cell::forward(H, sums + row * columns, layer.states + at, layer.states + at, layer.hiddens + at);
        std::memcpy(features + row * H, layer.hiddens + at, H * sizeof(float));
      }
    }
    for (Size text : going) place[text] = (place[text] + 1) % R;
    return features;
  }

  // Return the next characters' logits, [texts, V], from the row of each text that began first.
  const float* predict(const std::vector<Size>& going, const float* features, xla::ffi::ThreadPool* pool) const {
    thread_local Scratch chosen_, predictions_;
    const Size texts = going.size(), H = layers.back().H;
    float *chosen = chosen_.at_least(texts * H), *predictions = predictions_.at_least(texts * V);
    for (Size j = 0; j < texts; j++) {
      std::memcpy(chosen + j * H, features + (j * R + place[going[j]]) * H, H * sizeof(float));
      std::memcpy(predictions + j * V, head_bias, V * sizeof(float));
    }
    add(pool, texts, chosen, head_panels, H, predictions, V);
    return predictions;
  }

  // Add a product, on all threads where that pays.
  static void add(xla::ffi::ThreadPool* pool, Size rows, const float* a, const float* panels, Size depth, float* to,
                  Size columns) {
    if (!pool || rows * depth * columns < WORTH_SHARING) {
      return add_product(rows, a, panels, depth, to, columns, {0, columns});
    }
    const Size panels_ = ceil_div(columns, WIDTH), tasks = std::min<Size>(pool->num_threads(), panels_);
    in_parallel(*pool, tasks, [=](Size i) {
      const Part part = part_of(panels_, tasks, i);
      add_product(rows, a, panels, depth, to, columns, {part.begin * WIDTH, std::min(part.end * WIDTH, columns)});
    });
  }

  // The place of the largest sum, the first one of equals; a NaN, as of a diverged model, counts as the largest.
  int32_t draw(const float* predictions, const float* noise) const {
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
