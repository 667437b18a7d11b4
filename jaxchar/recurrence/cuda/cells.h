// The LSTM and the GRU of one unit in one row of the batch, at one time step, and their derivatives.
//
// The equations are those of recurrence/cells.py. A step keeps four numbers to be differentiated by: the
// gates i, f, g, o of an LSTM; r, z, n of a GRU, and q, its recurrent product for n.

#pragma once

// NaN stays NaN: a diverged run must show it.
DEVICE float clipped(float x) { return x < 0.0f ? 0.0f : x > 1.0f ? 1.0f : x; }

DEVICE float gate(float x) { return HARD ? clipped(0.2f * x + 0.5f) : 1.0f / (1.0f + exponential(-x)); }

// A gate's derivative, from its value.
DEVICE float gate_derivative(float value) {
  return HARD ? (value > 0.0f && value < 1.0f ? 0.2f : 0.0f) : value * (1.0f - value);
}

struct Kept {
  float of[4];
};

#if GATES == 4

// z: the sums before the gates. The memory c and the output h are changed to those after the step.
DEVICE Kept cell_forward(const float (&z)[4], float /*projected_n*/, float& c, float& h) {
  const float i = gate(z[0]), f = gate(z[1]), g = tanh_of(z[2]), o = gate(z[3]);
  c = f * c + i * g;
  h = o * tanh_of(c);
  return {{i, f, g, o}};
}

// dz: the gradient of the sums. dh is that of the output; dc is changed to that of the memory before the
// step. Returns the part of the gradient of the output before that does not pass through the recurrent
// product.
DEVICE float cell_backward(const Kept& kept, float c, float c_before, float dh, float& dc, float (&dz)[4]) {
  const float i = kept.of[0], f = kept.of[1], g = kept.of[2], o = kept.of[3], tanh_c = tanh_of(c);
  dc += dh * o * (1.0f - tanh_c * tanh_c);
  dz[0] = dc * g * gate_derivative(i);
  dz[1] = dc * c_before * gate_derivative(f);
  dz[2] = dc * i * (1.0f - g * g);
  dz[3] = dh * tanh_c * gate_derivative(o);
  dc *= f;
  return 0.0f;
}

#else

// z: the sums before r and z, and q; projected_n: what the inputs add to r q. Of the state there is h alone.
DEVICE Kept cell_forward(const float (&z)[4], float projected_n, float& /*c*/, float& h) {
  const float r = gate(z[0]), u = gate(z[1]), q = z[2], n = tanh_of(projected_n + r * q);
  h = (1.0f - u) * n + u * h;
  return {{r, u, n, q}};
}

// As above; "before" is the output before the step. That of the projection is in dz, so the third part is to
// be multiplied by r for the recurrent product.
DEVICE float cell_backward(const Kept& kept, float /*c*/, float before, float dh, float& /*dc*/,
                           float (&dz)[4]) {
  const float r = kept.of[0], u = kept.of[1], n = kept.of[2], q = kept.of[3];
  dz[2] = dh * (1.0f - u) * (1.0f - n * n);
  dz[1] = dh * (before - n) * gate_derivative(u);
  dz[0] = dz[2] * q * gate_derivative(r);
  dz[3] = 0.0f;
  return dh * u;
}

#endif
