// A recurrent layer over time in one kernel: forward, and its gradient. The sums of all products are float32.
//
// A block, or a cluster of them, takes eight rows of the batch through all time steps. Each block has some of
// the units, each warp eight of them, and every thread one unit in two rows of the batch. The recurrent
// kernel W [H, G] stays where it is used, as fragments of tensor core products (PTX: mma.m16n8k16): as many
// in registers as fit, the others in shared memory.
//
// Forward, a block forms the columns of h W that belong to its units, two tiles of 16 gate columns a warp:
// one with the first and second gate of its units, one with the third and fourth, so that a thread gets all
// gates of its unit. What is exchanged is h; a GRU has zeros for a fourth gate. Backward, a block multiplies
// dz of its own units by its columns of W, which gives parts of dh of all units; what is exchanged is these
// parts, and each block sums those of its units. A step has one barrier between the blocks.
//
// A float32 number is PARTS bfloat16 numbers whose sum it is, nearly; products of parts that are too small to
// matter are left out. With one part, products are in bfloat16.
//
// W comes as the threads read it, see recurrence/cuda_weights.py.
//
// Macros: STEPS, BATCH, UNITS; PADDED, units with padding, a multiple of 16 and of 8 BLOCKS; BLOCKS in a
// cluster; GATES, 4 for an LSTM and 3 for a GRU; PARTS; HARD gates; MASKED: with recurrent dropout; BIASED:
// with a bias in the recurrent product (GRU); IN_REGISTERS: fragments of a thread; SHARED_BYTES of a block;
// ONLY_FORWARD or ONLY_BACKWARD: leave out the other kernel.

constexpr int T = STEPS, B = BATCH, N = UNITS, H = PADDED, C = BLOCKS, P = PARTS;
constexpr int U = H / C;              // units of a block
constexpr int G = GATES * N;          // columns of W
constexpr int ROWS = 8;               // of the batch
constexpr int THREADS = 4 * U;        // of a block: a warp for eight units
constexpr int SLOTS = C > 1 ? C : 2;  // parts that dh comes in

// A warp's products: tiles of 16 rows that it forms, and tiles of 16 columns that it sums over. In dz W^T of
// a single block two warps share a tile of rows, and each sums over half of the columns.
constexpr int TILES_FORWARD = 2, DEPTH_FORWARD = H / 16;
constexpr int TILES_BACKWARD = C > 1 ? C / 2 : 1, DEPTH_BACKWARD = C > 1 ? U / 4 : U / 8;
constexpr int FRAGMENTS = H / 8 * P;  // of a thread, in either direction

// Rows in shared memory, padded against bank conflicts.
constexpr int H_ROW = H + 8, DZ_ROW = 4 * U + 8, PART_ROW = U + 4;
constexpr int FORWARD_BYTES = 2 * P * ROWS * H_ROW * 2;
constexpr int DZ_BYTES = P * ROWS * DZ_ROW * 2;
constexpr int BACKWARD_BYTES = DZ_BYTES + 2 * SLOTS * ROWS * PART_ROW * 4;
constexpr int STATE_BYTES = FORWARD_BYTES > BACKWARD_BYTES ? FORWARD_BYTES : BACKWARD_BYTES;
static_assert(TILES_FORWARD * DEPTH_FORWARD * P == FRAGMENTS, "fragments forward");
static_assert(TILES_BACKWARD * DEPTH_BACKWARD * P == FRAGMENTS, "fragments backward");
static_assert(IN_REGISTERS <= FRAGMENTS && STATE_BYTES % 16 == 0, "layout");
static_assert(STATE_BYTES + (FRAGMENTS - IN_REGISTERS) * THREADS * 16 == SHARED_BYTES, "shared memory");

// The bits of a part of a number.
DEVICE u32 part_of(float x, int part) {
  for (int before = 0; before < part; before++) x -= as_float(rounded(x) << 16);
  return rounded(x);
}

template <bool IS_LARGE>
struct IndexOf {
  typedef int type;
};
template <>
struct IndexOf<true> {
  typedef long long type;
};
typedef IndexOf<(4LL * T * B * N > 0x7fffffff)>::type Index;  // of a number in an array

// ---- where a thread is --------------------------------------------------------------------------

struct Place {
  int block, warp;
  int group, quarter;   // its row of eight in a fragment, and its two columns of eight
  int unit_here, unit;  // its unit, in this block and in all
  int row;              // the first of its two rows of the batch

  DEVICE static Place of_this_thread() {
    const int thread = threadIdx.x, warp = thread / 32, group = thread % 32 / 4, quarter = thread % 4;
    const int block = blockIdx.x % C, slice = blockIdx.x / C, unit = 8 * warp + group;
    return {block, warp, group, quarter, unit, block * U + unit, slice * ROWS + 2 * quarter};
  }
  DEVICE bool is_real(int n) const { return (H == N || unit < N) && (B % ROWS == 0 || row + n < B); }
  DEVICE Index at(int t, int n, int columns) const { return ((Index)t * B + row + n) * columns + unit; }
  // Padding is zero and stays so: a state stays zero where weights and inputs are zero, too.
  DEVICE float read(const float* array, int t, int n, int columns, int block = 0) const {
    return is_real(n) ? array[at(t, n, columns) + block * N] : 0.0f;
  }
};

// ---- products -----------------------------------------------------------------------------------

struct Forward {
  static constexpr int TILES = TILES_FORWARD, DEPTH = DEPTH_FORWARD, ROW = H_ROW;

  DEVICE static int first_column(const Place&) { return 0; }
};

struct Backward {
  static constexpr int TILES = TILES_BACKWARD, DEPTH = DEPTH_BACKWARD, ROW = DZ_ROW;

  DEVICE static int first_unit(const Place& place, int tile) {
    return 16 * (C > 1 ? place.warp * TILES + tile : place.warp / 2);
  }
  DEVICE static int first_column(const Place& place) { return C > 1 ? 0 : place.warp % 2 * DEPTH * 16; }
};

template <class Direction>
struct Weights {
  Fragment held[IN_REGISTERS > 0 ? IN_REGISTERS : 1];
  Fragment* others;  // in shared memory, those of this thread THREADS apart

  // w: all fragments, [C, FRAGMENTS, THREADS]; see recurrence/cuda_weights.py.
  DEVICE Weights(const Fragment* w, const Place& place, unsigned char* memory) {
    const Fragment* mine = w + place.block * FRAGMENTS * THREADS + threadIdx.x;
    others = (Fragment*)(memory + STATE_BYTES) + threadIdx.x;
#pragma unroll
    for (int number = 0; number < IN_REGISTERS; number++) held[number] = mine[number * THREADS];
#pragma unroll 4
    for (int number = IN_REGISTERS; number < FRAGMENTS; number++)
      others[(number - IN_REGISTERS) * THREADS] = mine[number * THREADS];
  }

  // Adds W times the rows of the batch that are in shared memory, [P, ROWS, ROW].
  DEVICE void multiply_add_rows(float (&sums)[Direction::TILES][4], const u16* rows,
                                const Place& place) const {
    const u16* row = rows + place.group * Direction::ROW + Direction::first_column(place) + 2 * place.quarter;
#pragma unroll
    for (int depth = 0; depth < Direction::DEPTH; depth++) {
      u32 low[P], high[P];
#pragma unroll
      for (int part = 0; part < P; part++) {
        low[part] = *(const u32*)(row + part * ROWS * Direction::ROW + 16 * depth);
        high[part] = *(const u32*)(row + part * ROWS * Direction::ROW + 16 * depth + 8);
      }
#pragma unroll
      for (int tile = 0; tile < Direction::TILES; tile++)
#pragma unroll
        for (int mine = 0; mine < P; mine++) {
          const int number = (depth * Direction::TILES + tile) * P + mine;
          const Fragment a = number < IN_REGISTERS ? held[number < IN_REGISTERS ? number : 0]
                                                   : others[(number - IN_REGISTERS) * THREADS];
#pragma unroll
          for (int other = 0; other < P - mine; other++) multiply_add(sums[tile], a, low[other], high[other]);
        }
    }
  }
};

// ---- forward ------------------------------------------------------------------------------------

struct Projected {
  float of[GATES][2];

  DEVICE void read(const float* projected, const Place& place, int t) {
#pragma unroll
    for (int gate = 0; gate < GATES; gate++)
#pragma unroll
      for (int n = 0; n < 2; n++) of[gate][n] = place.read(projected, t, n, G, gate);
  }
};

// Writes a row's h where the next product reads it, in every block.
DEVICE void exchange(u16* rows, const Place& place, int n, float h) {
  u16* here = rows + (2 * place.quarter + n) * H_ROW + place.unit;
#pragma unroll
  for (int block = 0; block < C; block++) {
    u16* there = in_block(here, block);
#pragma unroll
    for (int part = 0; part < P; part++) there[part * ROWS * H_ROW] = (u16)part_of(h, part);
  }
}

#ifndef ONLY_BACKWARD

// projected [T, B, G], w, state and hidden [B, H] before the first step, mask [B, H], bias [G]
// -> hiddens [T, B, H], kept [T, B, 4H], states [T, B, H]
KERNEL forward(const float* __restrict__ projected, const Fragment* __restrict__ w,
#if GATES == 4
               const float* __restrict__ state,
#endif
               const float* __restrict__ hidden,
#if MASKED
               const float* __restrict__ mask,
#endif
#if BIASED
               const float* __restrict__ bias,
#endif
               float* __restrict__ hiddens, float* __restrict__ kept
#if GATES == 4
               ,
               float* __restrict__ states
#endif
) {
  SHARED_MEMORY(memory);
  u16* const rows = (u16*)memory;  // [2, P, ROWS, H_ROW]: of h, now and after the step
  const Place place = Place::of_this_thread();
  const Weights<Forward> weights(w, place, memory);
  float c[2] = {0, 0}, h[2], seen[2] = {1, 1}, added[GATES] = {};
#pragma unroll
  for (int n = 0; n < 2; n++) {
    h[n] = place.read(hidden, 0, n, N);
#if GATES == 4
    c[n] = place.read(state, 0, n, N);
#endif
#if MASKED
    seen[n] = place.read(mask, 0, n, N);
#endif
  }
#if BIASED
  for (int gate = 0; gate < GATES; gate++) added[gate] = place.unit < N ? bias[gate * N + place.unit] : 0.0f;
#endif
  synchronize_cluster();  // no block writes to another before that has begun
  for (int n = 0; n < 2; n++) exchange(rows, place, n, h[n] * seen[n]);
  Projected next;
  next.read(projected, place, 0);
  synchronize_cluster();
  for (int t = 0; t < T; t++) {
    const Projected now = next;
    if (t + 1 < T) next.read(projected, place, t + 1);
    float sums[2][4];  // of two gates each: the first at both rows, then the second
#pragma unroll
    for (int i = 0; i < 8; i++) {
      const int gate = i / 2, real = gate < GATES ? gate : 0;
      const bool is_summed = GATES == 4 || gate < 2;
      sums[i / 4][i % 4] = gate < GATES ? (is_summed ? now.of[real][i % 2] : 0.0f) + added[real] : 0.0f;
    }
    weights.multiply_add_rows(sums, rows + t % 2 * P * ROWS * H_ROW, place);
#pragma unroll
    for (int n = 0; n < 2; n++) {
      const float z[4] = {sums[0][n], sums[0][2 + n], sums[1][n], sums[1][2 + n]};
      const Kept here = cell_forward(z, now.of[2][n], c[n], h[n]);
      if (place.is_real(n)) {
        hiddens[place.at(t, n, N)] = h[n];
#if GATES == 4
        states[place.at(t, n, N)] = c[n];
#endif
        for (int i = 0; i < 4; i++) kept[place.at(t, n, 4 * N) + i * N] = here.of[i];
      }
      if (t + 1 < T) exchange(rows + (1 - t % 2) * P * ROWS * H_ROW, place, n, h[n] * seen[n]);
    }
    synchronize_cluster();
  }
}

#endif

// ---- backward -----------------------------------------------------------------------------------

struct Step {
  Kept kept[2];
  float before[2], d_hidden[2];

  DEVICE void read(const float* all_kept, const float* first, const float* following, const float* d_hiddens,
                   const Place& place, int t) {
#pragma unroll
    for (int n = 0; n < 2; n++) {
#pragma unroll
      for (int i = 0; i < 4; i++) kept[n].of[i] = place.read(all_kept, t, n, 4 * N, i);
      before[n] = t > 0 ? place.read(following, t - 1, n, N) : place.read(first, 0, n, N);
      d_hidden[n] = place.read(d_hiddens, t, n, N);
    }
  }
};

#ifndef ONLY_FORWARD

// w; first [B, H] and following [T, B, H]: the memories of an LSTM, the outputs of a GRU; kept
// [T, B, 4H], d_hiddens [T, B, H], d_state and d_hidden [B, H] after the last step, mask [B, H]
// -> d_projected [T, B, G], d_state and d_hidden before the first step [B, H]
KERNEL backward(const Fragment* __restrict__ w, const float* __restrict__ first,
                const float* __restrict__ following, const float* __restrict__ kept,
                const float* __restrict__ d_hiddens,
#if GATES == 4
                const float* __restrict__ d_state,
#endif
                const float* __restrict__ d_hidden,
#if MASKED
                const float* __restrict__ mask,
#endif
                float* __restrict__ d_projected,
#if GATES == 4
                float* __restrict__ d_first_state,
#endif
                float* __restrict__ d_first_hidden) {
  SHARED_MEMORY(memory);
  u16* const dz_rows = (u16*)memory;  // [P, ROWS, DZ_ROW]
  float* const parts =
      (float*)(memory + DZ_BYTES);  // [2, SLOTS, ROWS, PART_ROW]: of dh of this block's units
  const Place place = Place::of_this_thread();
  const Weights<Backward> weights(w, place, memory);
  float c[2] = {0, 0}, dc[2] = {0, 0}, dh[2], seen[2] = {1, 1};
  Step now;
  now.read(kept, first, following, d_hiddens, place, T - 1);
#pragma unroll
  for (int n = 0; n < 2; n++) {
    dh[n] = place.read(d_hidden, 0, n, N);
#if GATES == 4
    dc[n] = place.read(d_state, 0, n, N);
    c[n] = place.read(following, T - 1, n, N);
#endif
#if MASKED
    seen[n] = place.read(mask, 0, n, N);
#endif
  }
  synchronize_cluster();  // no block writes to another before that has begun
  for (int t = T - 1; t >= 0; t--) {
#pragma unroll
    for (int n = 0; n < 2; n++) {
      float dz[4];
      dh[n] = cell_backward(now.kept[n], c[n], now.before[n], dh[n] + now.d_hidden[n], dc[n], dz);
      c[n] = now.before[n];
      u16* row = dz_rows + (2 * place.quarter + n) * DZ_ROW + place.unit_here;
#pragma unroll
      for (int gate = 0; gate < 4; gate++) {
        if (gate < GATES && place.is_real(n)) d_projected[place.at(t, n, G) + gate * N] = dz[gate];
        const float of_product = GATES == 3 && gate == 2 ? dz[gate] * now.kept[n].of[0] : dz[gate];
#pragma unroll
        for (int part = 0; part < P; part++)
          row[part * ROWS * DZ_ROW + gate * U] = (u16)part_of(of_product, part);
      }
    }
    if (t > 0) now.read(kept, first, following, d_hiddens, place, t - 1);
    synchronize_block();
    float sums[TILES_BACKWARD][4] = {};
    weights.multiply_add_rows(sums, dz_rows, place);
    float* const these = parts + t % 2 * SLOTS * ROWS * PART_ROW;
    const int slot = C > 1 ? place.block : place.warp % 2;
#pragma unroll
    for (int tile = 0; tile < TILES_BACKWARD; tile++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int unit = Backward::first_unit(place, tile) + place.group + i / 2 * 8;
        const int at = (slot * ROWS + 2 * place.quarter + i % 2) * PART_ROW + unit % U;
        *in_block(these + at, unit / U) = sums[tile][i];
      }
    synchronize_cluster();
#pragma unroll
    for (int n = 0; n < 2; n++) {
      float sum = 0;
#pragma unroll
      for (int i = 0; i < SLOTS; i++)
        sum += these[(i * ROWS + 2 * place.quarter + n) * PART_ROW + place.unit_here];
      dh[n] += sum * seen[n];
    }
  }
#pragma unroll
  for (int n = 0; n < 2; n++)
    if (place.is_real(n)) {
      d_first_hidden[place.at(0, n, N)] = dh[n];
#if GATES == 4
      d_first_state[place.at(0, n, N)] = dc[n];
#endif
    }
}

#endif
