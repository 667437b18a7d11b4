// The LSTM and the GRU element by element: gates in the forward pass, derivatives in the backward pass.

#pragma once

#include <cstdint>
#include <cstring>

#include "products.h"

namespace jaxchar {

// ---- activations --------------------------------------------------------------------------------
// The compiler vectorizes the loops over units that call these. NaN stays NaN: a diverged run must show it.

// Exponents are clamped to this distance from zero: e^80 is finite in float32, and 1 + e^-80 is 1. A loop
// reads the limit once, as a value unknown to the compiler: with a constant, GCC does not turn `a < b ? a :
// b` into a minimum instruction.
inline float exponent_limit() {
  volatile float limit = 80.0f;
  return limit;
}

inline float clamp(float x, float limit) {
  x = limit < x ? limit : x;
  return -limit > x ? -limit : x;
}

// e^x = scale * (1 + rest), where scale is a power of two and rest = e^r - 1 with |r| <= ln(2) / 2.
struct Exponential {
  float scale, rest;
};

inline Exponential exponential(float x) {
  constexpr float ROUND = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  constexpr float LN2_HIGH = 0.693359375f, LN2_LOW = -2.12194440e-4f;
  float n = (x * 1.44269504f + ROUND) - ROUND;
  float r = (x - n * LN2_HIGH) - n * LN2_LOW;
  int32_t bits = (static_cast<int32_t>(n) + 127) << 23;
  float scale;
  std::memcpy(&scale, &bits, sizeof scale);
  // (e^r - 1 - r) / r^2, a minimax fit: the error of e^r - 1 is at most 1.3e-8 of r.
  float series = r * 0.0013946554f + 0.00836664397f;
  series = series * r + 0.0416662806f;
  series = series * r + 0.166665425f;
  series = series * r + 0.500000006f;
  return {scale, series * r * r + r};
}

// (e^2x - 1) / (e^2x + 1), accurate to rounding, also near zero.
inline float tanh(float x, float limit) {
  Exponential e = exponential(clamp(2.0f * x, limit));
  float m = e.scale * e.rest + (e.scale - 1.0f);
  return m / (m + 2.0f);
}

struct Sigmoid {
  static float value(float x, float limit) {
    Exponential e = exponential(clamp(x, limit));
    float p = e.scale * e.rest + e.scale;
    return p / (p + 1.0f);
  }
  static float slope(float value) { return value * (1.0f - value); }
};

struct HardSigmoid {
  static float value(float x, float /* limit */) {
    float line = 0.2f * x + 0.5f;
    line = 1.0f < line ? 1.0f : line;
    return 0.0f > line ? 0.0f : line;
  }
  static float slope(float value) { return value > 0.0f && value < 1.0f ? 0.2f : 0.0f; }
};

// ---- the two cells ------------------------------------------------------------------------------
// One row of one time step. The forward pass replaces sums, in BLOCKS of H, by activations. The input product
// has been added to the first GATES blocks, the recurrent product to the blocks in RECURRENT_BLOCK. `state`
// is what a step needs of the previous step, element by element: the LSTM's memory c, the GRU's output h.

constexpr Size BLOCKS = 4;

// i, f, o = gate(z), g = tanh(z); c' = f c + i g; h' = o tanh(c')
template <class Gate>
struct Lstm {
  static constexpr Size GATES = 4;
  static constexpr Size RECURRENT_BLOCK[GATES] = {0, 1, 2, 3};

  static void forward(Size H, float* z, const float* before, float* state, float* hidden) {
    const float limit = exponent_limit();
#pragma GCC ivdep
    for (Size u = 0; u < H; u++) {
      float i = Gate::value(z[u], limit);
      float f = Gate::value(z[H + u], limit);
      float g = tanh(z[2 * H + u], limit);
      float o = Gate::value(z[3 * H + u], limit);
      float c = f * before[u] + i * g;
      z[u] = i;
      z[H + u] = f;
      z[2 * H + u] = g;
      z[3 * H + u] = o;
      state[u] = c;
      hidden[u] = o * tanh(c, limit);
    }
  }

  // d_hidden is the gradient of h' on entry, and of h on return, without the part through the kernel.
  static void backward(Size H, const float* saved, const float* before, const float* state, float* d_hidden,
                       float* d_state, float* d_projected, float* /* d_recurrent: the same */) {
    const float limit = exponent_limit();
#pragma GCC ivdep
    for (Size u = 0; u < H; u++) {
      float i = saved[u], f = saved[H + u], g = saved[2 * H + u], o = saved[3 * H + u];
      float tanh_c = tanh(state[u], limit);
      float d_c = d_state[u] + d_hidden[u] * o * (1.0f - tanh_c * tanh_c);
      d_projected[u] = d_c * g * Gate::slope(i);
      d_projected[H + u] = d_c * before[u] * Gate::slope(f);
      d_projected[2 * H + u] = d_c * i * (1.0f - g * g);
      d_projected[3 * H + u] = d_hidden[u] * tanh_c * Gate::slope(o);
      d_state[u] = d_c * f;
      d_hidden[u] = 0.0f;
    }
  }
};

// r, z = gate(.); n = tanh(p_n + r q_n); h' = (1 - z) n + z h, p the input product, q the recurrent one
template <class Gate>
struct Gru {
  static constexpr Size GATES = 3;
  static constexpr Size RECURRENT_BLOCK[GATES] = {0, 1, 3};

  static void forward(Size H, float* sums, const float* before, float* /* state: hidden */, float* hidden) {
    const float limit = exponent_limit();
#pragma GCC ivdep
    for (Size u = 0; u < H; u++) {
      float r = Gate::value(sums[u], limit);
      float z = Gate::value(sums[H + u], limit);
      float n = tanh(sums[2 * H + u] + r * sums[3 * H + u], limit);
      sums[u] = r;
      sums[H + u] = z;
      sums[2 * H + u] = n;
      hidden[u] = (1.0f - z) * n + z * before[u];
    }
  }

  static void backward(Size H, const float* saved, const float* before, const float* /* state */,
                       float* d_hidden, float* /* d_state: d_hidden */, float* d_projected,
                       float* d_recurrent) {
#pragma GCC ivdep
    for (Size u = 0; u < H; u++) {
      float r = saved[u], z = saved[H + u], n = saved[2 * H + u], q_n = saved[3 * H + u];
      float d_n = d_hidden[u] * (1.0f - z) * (1.0f - n * n);
      float d_r = d_n * q_n * Gate::slope(r);
      float d_z = d_hidden[u] * (before[u] - n) * Gate::slope(z);
      d_projected[u] = d_recurrent[u] = d_r;
      d_projected[H + u] = d_recurrent[H + u] = d_z;
      d_projected[2 * H + u] = d_n;
      d_recurrent[2 * H + u] = d_n * r;
      d_hidden[u] *= z;
    }
  }
};

}  // namespace jaxchar
