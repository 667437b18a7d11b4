// The recurrence of the LSTM and the GRU and its gradient, for processors.
//
// What unroll.py says in JAX, said in C++, because on a processor XLA spends half of a small step between
// its operations: here a slice of the batch passes through all time steps on one thread, the kernel lies
// packed for the product, and the gates follow each tile of it while that is in the nearest cache. Built at
// first use by native.py, which also tells when it serves.
//
// Letters as in unroll.py: T time steps, B batch, H hidden size, G gate columns. All arrays are float32, row
// by row, time first. Every row of a batch is computed by itself, its sums in one order, so neither the number
// of threads nor of devices changes a bit of it.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <string_view>
#include <thread>

#include "xla/ffi/api/ffi.h"

namespace {

namespace ffi = xla::ffi;
using Size = int64_t;
using Array = ffi::Buffer<ffi::F32>;
using Ids = ffi::Buffer<ffi::S32>;
using NewArray = ffi::Result<Array>;

// ---- small things -------------------------------------------------------------------------------

struct Part {
  Size begin, end;
  Size size() const { return end - begin; }
};

Size ceil_div(Size a, Size b) { return (a + b - 1) / b; }

// The i-th of so many nearly equal parts.
Part part_of(Size size, Size parts, Size i) { return {size * i / parts, size * (i + 1) / parts}; }

// Memory that begins with a cache line, not zeroed, kept from call to call: fresh pages cost more than packing.
class Scratch {
 public:
  ~Scratch() { release(); }
  float* at_least(Size size) {
    if (size > size_) {
      release();
      floats_ = new (LINE) float[size];
      size_ = size;
    }
    return floats_;
  }

 private:
  static constexpr std::align_val_t LINE{64};
  void release() { operator delete[](floats_, LINE); }
  float* floats_ = nullptr;
  Size size_ = 0;
};

// Run task(0) to task(tasks - 1) on XLA's threads and this one. Waiting is only for tasks that have begun, so
// it ends even where all of XLA's threads are busy with waiting.
template <class Task>
void in_parallel(ffi::ThreadPool& pool, Size tasks, Task task) {
  struct Progress {
    std::atomic<Size> begun{0}, done{0};
  };
  auto progress = std::make_shared<Progress>();
  auto work = [progress, tasks, task] {
    for (Size i; (i = progress->begun++) < tasks;) {
      task(i);
      progress->done++;
    }
  };
  Size helpers = std::min<Size>(tasks, pool.num_threads()) - 1;
  for (Size i = 0; i < helpers; i++) pool.Schedule(std::function<void()>(work));
  work();
  while (progress->done < tasks) std::this_thread::yield();
}

// ---- products -----------------------------------------------------------------------------------

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif
constexpr int WIDTH = 2 * LANES;  // columns of a tile
constexpr int MAX_ROWS = 6;       // its rows: 12 vectors of sums, 2 of the panel, 1 of a row's number

typedef float Vector __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));

// Keep a value in a register: GCC would read it again from memory for every product with it.
#if defined(__x86_64__)
#define IN_REGISTER(value) asm("" : "+x"(value))
#else
#define IN_REGISTER(value)
#endif

// Write [ROWS, depth] rows times a panel [depth, WIDTH]. `a_stride` and `to_stride`: how far apart rows begin.
template <int ROWS>
void multiply_strip(const float* a, Size a_stride, const float* panel, Size depth, float* to, Size to_stride) {
  Vector sum[ROWS][2] = {};
  for (Size k = 0; k < depth; k++) {
    auto* columns = reinterpret_cast<const Vector*>(panel + k * WIDTH);
    Vector left = columns[0], right = columns[1];
    IN_REGISTER(left);
    IN_REGISTER(right);
    for (int r = 0; r < ROWS; r++) {
      float factor = a[r * a_stride + k];
      sum[r][0] += factor * left;
      sum[r][1] += factor * right;
    }
  }
  for (int r = 0; r < ROWS; r++) std::memcpy(to + r * to_stride, sum[r], sizeof sum[r]);
}

using MultiplyStrip = void (*)(const float*, Size, const float*, Size, float*, Size);
constexpr MultiplyStrip BY_ROWS[MAX_ROWS + 1] = {
    nullptr,           multiply_strip<1>, multiply_strip<2>, multiply_strip<3>,
    multiply_strip<4>, multiply_strip<5>, multiply_strip<6>};

// Write any number of rows times a panel, in strips of nearly equally many.
void multiply(Size rows, const float* a, Size a_stride, const float* panel, Size depth, float* to, Size to_stride) {
  const Size strips = ceil_div(rows, MAX_ROWS);
  for (Size i = 0; i < strips; i++) {
    const Part strip = part_of(rows, strips, i);
    BY_ROWS[strip.size()](a + strip.begin * a_stride, a_stride, panel, depth, to + strip.begin * to_stride,
                          to_stride);
  }
}

// Pack some columns of a [depth, ...] matrix into a panel, zeros behind them.
void pack(const float* matrix, Size stride, Size depth, Size columns, float* panel) {
  for (Size k = 0; k < depth; k++) {
    if (columns >= WIDTH) {
      std::memcpy(panel + k * WIDTH, matrix + k * stride, WIDTH * sizeof(float));
    } else {
      std::memset(panel + k * WIDTH, 0, WIDTH * sizeof(float));
      std::memcpy(panel + k * WIDTH, matrix + k * stride, columns * sizeof(float));
    }
  }
}

// The same of the transposed matrix [..., depth], some of its rows; by squares, for the caches' sake.
void pack_transposed(const float* matrix, Size stride, Size depth, Size rows, float* panel) {
  for (Size from = 0; from < depth; from += WIDTH) {
    Size to = std::min<Size>(from + WIDTH, depth);
    for (Size c = 0; c < WIDTH; c++) {
      for (Size k = from; k < to; k++) panel[k * WIDTH + c] = c < rows ? matrix[c * stride + k] : 0.0f;
    }
  }
}

// ---- activations --------------------------------------------------------------------------------
// As loops over units that the compiler turns into vectors. NaN stays NaN: a diverged run must show it.

float clamp(float x, float limit) {
  x = limit < x ? limit : x;
  return -limit > x ? -limit : x;
}

// e^x = scale * (1 + rest), |x| <= 87: scale a power of two, rest = e^r - 1 with |r| <= ln(2) / 2.
struct Exponential {
  float scale, rest;
};

Exponential exponential(float x) {
  constexpr float ROUND = 12582912.0f;  // 1.5 * 2^23: adding it leaves no place for a fraction
  constexpr float LN2_HIGH = 0.693359375f, LN2_LOW = -2.12194440e-4f;
  float n = (x * 1.44269504f + ROUND) - ROUND;
  float r = (x - n * LN2_HIGH) - n * LN2_LOW;
  int32_t bits = (static_cast<int32_t>(n) + 127) << 23;
  float scale;
  std::memcpy(&scale, &bits, sizeof scale);
  // Taylor's series; the first term left out is 5e-9 of r.
  float series = r * (1.0f / 5040) + 1.0f / 720;
  series = series * r + 1.0f / 120;
  series = series * r + 1.0f / 24;
  series = series * r + 1.0f / 6;
  series = series * r + 0.5f;
  return {scale, series * r * r + r};
}

// (e^2x - 1) / (e^2x + 1), exact to rounding near zero too; 1 in float32 from 9.1 on.
float tanh(float x) {
  Exponential e = exponential(2.0f * clamp(x, 10.0f));
  float m = e.scale * e.rest + (e.scale - 1.0f);
  return m / (m + 2.0f);
}

struct Sigmoid {
  static float value(float x) {
    Exponential e = exponential(clamp(x, 80.0f));
    float p = e.scale * e.rest + e.scale;
    return p / (p + 1.0f);
  }
  static float slope(float value) { return value * (1.0f - value); }
};

struct HardSigmoid {
  static float value(float x) {
    float line = 0.2f * x + 0.5f;
    line = 1.0f < line ? 1.0f : line;
    return 0.0f > line ? 0.0f : line;
  }
  static float slope(float value) { return value > 0.0f && value < 1.0f ? 0.2f : 0.0f; }
};

// ---- the two cells ------------------------------------------------------------------------------
// One row of one time step. `state` is what a step needs of the one before it, element by element: the
// LSTM's memory c, the GRU's output h. `saved` holds four activations a unit.

constexpr Size SAVED = 4;

// i, f, o = gate(z), g = tanh(z); c' = f c + i g; h' = o tanh(c')
template <class Gate>
struct Lstm {
  static constexpr Size GATES = 4;

  // z is the recurrent product of some units, [GATES, WIDTH]; H the distance from gate to gate elsewhere.
  static void forward(Size units, Size H, const float* projected, const float* z, const float* before,
                      float* saved, float* state, float* hidden) {
#pragma GCC ivdep
    for (Size u = 0; u < units; u++) {
      float i = Gate::value(projected[u] + z[u]);
      float f = Gate::value(projected[H + u] + z[WIDTH + u]);
      float g = tanh(projected[2 * H + u] + z[2 * WIDTH + u]);
      float o = Gate::value(projected[3 * H + u] + z[3 * WIDTH + u]);
      float c = f * before[u] + i * g;
      saved[u] = i;
      saved[H + u] = f;
      saved[2 * H + u] = g;
      saved[3 * H + u] = o;
      state[u] = c;
      hidden[u] = o * tanh(c);
    }
  }

  // d_hidden comes as the gradient of h' and goes as that of h, less the part through the kernel.
  static void backward(Size H, const float* saved, const float* before, const float* state, float* d_hidden,
                       float* d_state, float* d_projected, float* /* d_recurrent: the same */) {
#pragma GCC ivdep
    for (Size u = 0; u < H; u++) {
      float i = saved[u], f = saved[H + u], g = saved[2 * H + u], o = saved[3 * H + u];
      float tanh_c = tanh(state[u]);
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

// r, z = gate(.); n = tanh(p_n + r q_n); h' = (1 - z) n + z h, q the recurrent product
template <class Gate>
struct Gru {
  static constexpr Size GATES = 3;

  static void forward(Size units, Size H, const float* projected, const float* q, const float* before,
                      float* saved, float* /* state: hidden */, float* hidden) {
#pragma GCC ivdep
    for (Size u = 0; u < units; u++) {
      float r = Gate::value(projected[u] + q[u]);
      float z = Gate::value(projected[H + u] + q[WIDTH + u]);
      float n = tanh(projected[2 * H + u] + r * q[2 * WIDTH + u]);
      saved[u] = r;
      saved[H + u] = z;
      saved[2 * H + u] = n;
      saved[3 * H + u] = q[2 * WIDTH + u];
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

// ---- over time ----------------------------------------------------------------------------------

constexpr Size SLICE_ROWS = 48;  // rows that pass through time together: few enough for the nearest caches

// As many for every thread, for none waits while another does one more.
Size num_slices(const ffi::ThreadPool& pool, Size B) {
  const Size threads = pool.num_threads();
  return std::min(B, ceil_div(B, SLICE_ROWS * threads) * threads);
}

// Write rows * mask.
void masked(Size size, const float* rows, const float* mask, float* to) {
  for (Size i = 0; i < size; i++) to[i] = rows[i] * mask[i];
}

template <class Cell>
ffi::Error forward(ffi::ThreadPool pool, Array projected_, Array kernel_, Array first_state, Array first_hidden,
                   Array mask_, NewArray hiddens_, NewArray states_, NewArray saved_) {
  constexpr Size GATES = Cell::GATES;
  const Size T = projected_.dimensions()[0], B = projected_.dimensions()[1], H = kernel_.dimensions()[0];
  const Size G = GATES * H, blocks = ceil_div(H, WIDTH), panel = H * WIDTH;
  const float *kernel = kernel_.typed_data(), *projected = projected_.typed_data();
  const float* mask = mask_.element_count() ? mask_.typed_data() : nullptr;
  const bool own_state = states_->element_count() > 0;
  float *hiddens = hiddens_->typed_data(), *saved = saved_->typed_data();
  float* states = own_state ? states_->typed_data() : hiddens;
  const float* state_0 = own_state ? first_state.typed_data() : first_hidden.typed_data();
  const float* hidden_0 = first_hidden.typed_data();

  thread_local Scratch packed;
  float* panels = packed.at_least(blocks * GATES * panel);  // [block of units, gate, H, WIDTH]
  for (Size j = 0; j < blocks; j++) {
    for (Size g = 0; g < GATES; g++) {
      pack(kernel + g * H + j * WIDTH, G, H, H - j * WIDTH, panels + (j * GATES + g) * panel);
    }
  }
  const Size slices = num_slices(pool, B);
  in_parallel(pool, slices, [=](Size slice) {
    const Part rows = part_of(B, slices, slice);
    thread_local Scratch dropped;
    float z[SLICE_ROWS * GATES * WIDTH];  // [row, gate, unit]
    for (Size t = 0; t < T; t++) {
      const float* hidden = (t ? hiddens + (t - 1) * B * H : hidden_0) + rows.begin * H;
      const float* before = t ? states + (t - 1) * B * H : state_0;
      if (mask) {
        float* what_is_left = dropped.at_least(rows.size() * H);
        masked(rows.size() * H, hidden, mask + rows.begin * H, what_is_left);
        hidden = what_is_left;
      }
      for (Size j = 0; j < blocks; j++) {
        const Size unit = j * WIDTH, units = std::min<Size>(WIDTH, H - unit);
        for (Size g = 0; g < GATES; g++) {
          multiply(rows.size(), hidden, H, panels + (j * GATES + g) * panel, H, z + g * WIDTH, GATES * WIDTH);
        }
        for (Size row = rows.begin; row < rows.end; row++) {
          const Size here = t * B + row;
          Cell::forward(units, H, projected + here * G + unit, z + (row - rows.begin) * GATES * WIDTH,
                        before + row * H + unit, saved + here * SAVED * H + unit, states + here * H + unit,
                        hiddens + here * H + unit);
        }
      }
    }
  });
  return ffi::Error::Success();
}

template <class Cell>
ffi::Error backward(ffi::ThreadPool pool, Array kernel_, Array first_state, Array states_, Array saved_,
                    Array d_hiddens_, Array d_last_state, Array d_last_hidden, Array mask_,
                    NewArray d_projected_, NewArray d_recurrent_, NewArray d_state_, NewArray d_hidden_) {
  constexpr Size GATES = Cell::GATES;
  const Size T = d_hiddens_.dimensions()[0], B = d_hiddens_.dimensions()[1], H = d_hiddens_.dimensions()[2];
  const Size G = GATES * H, blocks = ceil_div(H, WIDTH), panel = G * WIDTH;
  const float *kernel = kernel_.typed_data(), *state_0 = first_state.typed_data();
  const float *states = states_.typed_data(), *saved = saved_.typed_data(), *d_hiddens = d_hiddens_.typed_data();
  const float* mask = mask_.element_count() ? mask_.typed_data() : nullptr;
  const float *d_hidden_T = d_last_hidden.typed_data(), *d_state_T = d_last_state.typed_data();
  const Size state_size = d_state_->element_count() / B;  // H, or 0 where the state is the hidden one
  float *d_projected = d_projected_->typed_data(), *d_hidden = d_hidden_->typed_data();
  float* d_state = d_state_->typed_data();
  float* d_recurrent = d_recurrent_->element_count() ? d_recurrent_->typed_data() : d_projected;

  thread_local Scratch packed;
  float* panels = packed.at_least(blocks * panel);  // [block of units, G, WIDTH], of the transposed kernel
  for (Size j = 0; j < blocks; j++) {
    pack_transposed(kernel + j * WIDTH * G, G, G, H - j * WIDTH, panels + j * panel);
  }
  const Size slices = num_slices(pool, B);
  in_parallel(pool, slices, [=](Size slice) {
    const Part rows = part_of(B, slices, slice);
    float product[SLICE_ROWS * WIDTH];
    std::memmove(d_hidden + rows.begin * H, d_hidden_T + rows.begin * H, rows.size() * H * sizeof(float));
    std::memmove(d_state + rows.begin * state_size, d_state_T + rows.begin * state_size,
                 rows.size() * state_size * sizeof(float));
    for (Size t = T - 1; t >= 0; t--) {
      const float* before = t ? states + (t - 1) * B * H : state_0;
      for (Size row = rows.begin; row < rows.end; row++) {
        const Size here = t * B + row;
        for (Size u = 0; u < H; u++) d_hidden[row * H + u] += d_hiddens[here * H + u];
        Cell::backward(H, saved + here * SAVED * H, before + row * H, states + here * H, d_hidden + row * H,
                       d_state + row * state_size, d_projected + here * G, d_recurrent + here * G);
      }
      for (Size j = 0; j < blocks; j++) {
        const Size unit = j * WIDTH, units = std::min<Size>(WIDTH, H - unit);
        multiply(rows.size(), d_recurrent + (t * B + rows.begin) * G, G, panels + j * panel, G, product, WIDTH);
        for (Size row = rows.begin; row < rows.end; row++) {
          float *through_kernel = product + (row - rows.begin) * WIDTH, *to = d_hidden + row * H + unit;
          if (mask) masked(units, through_kernel, mask + row * H + unit, through_kernel);
          for (Size u = 0; u < units; u++) to[u] += through_kernel[u];
        }
      }
    }
  });
  return ffi::Error::Success();
}

// ---- over symbols ---------------------------------------------------------------------------------

// d_table [V, G]: the sum of the rows d_rows[n] of each id. Ids outside are those of the table's ends.
ffi::Error table_gradient(Ids ids_, Array d_rows_, NewArray d_table_) {
  const Size V = d_table_->dimensions()[0], G = d_table_->dimensions()[1], N = ids_.element_count();
  const float* d_rows = d_rows_.typed_data();
  float* d_table = d_table_->typed_data();
  std::memset(d_table, 0, V * G * sizeof(float));
  for (Size n = 0; n < N; n++) {
    float* to = d_table + std::clamp<Size>(ids_.typed_data()[n], 0, V - 1) * G;
    for (Size g = 0; g < G; g++) to[g] += d_rows[n * G + g];
  }
  return ffi::Error::Success();
}

// ---- what XLA calls -----------------------------------------------------------------------------

// The instance for a cell by name; native.py knows the names.
#define FOR_CELL(function)                                       \
  (cell == "lstm"        ? function<Lstm<Sigmoid>>               \
   : cell == "hard_lstm" ? function<Lstm<HardSigmoid>>           \
   : cell == "gru"       ? function<Gru<Sigmoid>>                \
                         : function<Gru<HardSigmoid>>)

ffi::Error any_forward(ffi::ThreadPool pool, std::string_view cell, Array projected, Array kernel,
                       Array first_state, Array first_hidden, Array mask, NewArray hiddens, NewArray states,
                       NewArray saved) {
  return FOR_CELL(forward)(pool, projected, kernel, first_state, first_hidden, mask, hiddens, states, saved);
}

ffi::Error any_backward(ffi::ThreadPool pool, std::string_view cell, Array kernel, Array first_state,
                        Array states, Array saved, Array d_hiddens, Array d_last_state, Array d_last_hidden,
                        Array mask, NewArray d_projected, NewArray d_recurrent, NewArray d_state,
                        NewArray d_hidden) {
  return FOR_CELL(backward)(pool, kernel, first_state, states, saved, d_hiddens, d_last_state, d_last_hidden,
                            mask, d_projected, d_recurrent, d_state, d_hidden);
}

auto on_threads() { return ffi::Ffi::Bind().Ctx<ffi::ThreadPool>(); }

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxchar_forward, any_forward,
                              on_threads()
                                  .Attr<std::string_view>("cell")
                                  .Arg<Array>()   // projected [T, B, G]
                                  .Arg<Array>()   // kernel [H, G]
                                  .Arg<Array>()   // first_state [B, H], or [B, 0] where it is the hidden one
                                  .Arg<Array>()   // first_hidden [B, H]
                                  .Arg<Array>()   // mask [B, H], or [B, 0]
                                  .Ret<Array>()   // hiddens [T, B, H]
                                  .Ret<Array>()   // states [T, B, H] or [T, B, 0]
                                  .Ret<Array>());  // saved [T, B, 4H]
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxchar_backward, any_backward,
                              on_threads()
                                  .Attr<std::string_view>("cell")
                                  .Arg<Array>()   // kernel [H, G]
                                  .Arg<Array>()   // first_state [B, H]
                                  .Arg<Array>()   // states [T, B, H], the hidden ones where there are no others
                                  .Arg<Array>()   // saved [T, B, 4H]
                                  .Arg<Array>()   // d_hiddens [T, B, H]
                                  .Arg<Array>()   // d_last_state [B, H] or [B, 0]
                                  .Arg<Array>()   // d_last_hidden [B, H]
                                  .Arg<Array>()   // mask [B, H], or [B, 0]
                                  .Ret<Array>()   // d_projected [T, B, G]
                                  .Ret<Array>()   // d_recurrent [T, B, G], or [T, B, 0] where it is the same
                                  .Ret<Array>()   // d_first_state [B, H] or [B, 0]
                                  .Ret<Array>());  // d_first_hidden [B, H]
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxchar_table_gradient, table_gradient,
                              ffi::Ffi::Bind()
                                  .Arg<Ids>()     // ids [...]
                                  .Arg<Array>()   // d_rows [..., G]
                                  .Ret<Array>());  // d_table [V, G]
