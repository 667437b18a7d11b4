// What jaxchar/recurrence/cuda/layer.cu needs of a card, on a processor: in place of device.h.
//
// Every thread of a cluster is a coroutine. It runs until it waits at a barrier; then the next one does, in
// an order that the caller chooses. Where a barrier lacks, the result depends on the order.

#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <vector>

typedef uint32_t u32;
typedef uint16_t u16;

#define DEVICE inline
#define KERNEL static void
#define SHARED_MEMORY(name) unsigned char* const name = at_work->shared
#define __restrict__

struct alignas(16) Fragment {
  u32 pairs[4];
};

struct Barrier {
  int size, waiting = 0, times = 0;
};

struct Warp {
  Barrier barrier{32};
  Fragment a[2][32];
  u32 b[2][32][2];
};

struct Coroutine {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  int thread, block;
  unsigned char* shared;
  Warp* warp;
  Barrier* of_block;
  Barrier* waits_at = nullptr;
  int since = 0, products = 0;
  bool is_done = false;
};

struct Dimension {
  int x;
};

inline Dimension threadIdx, blockIdx;
inline Coroutine* at_work;
inline ucontext_t scheduler;
inline Barrier of_cluster{0};
inline std::vector<std::vector<unsigned char>> shared_memories;
inline const std::function<void()>* body;

inline void wait_at(Barrier& barrier) {
  if (++barrier.waiting == barrier.size) {
    barrier.waiting = 0;
    barrier.times++;
    return;
  }
  at_work->waits_at = &barrier;
  at_work->since = barrier.times;
  swapcontext(&at_work->context, &scheduler);
}

inline void synchronize_block() { wait_at(*at_work->of_block); }
inline void synchronize_cluster() { wait_at(of_cluster); }

template <class Place>
Place* in_block(Place* here, int block) {
  return (Place*)(shared_memories[block].data() + ((unsigned char*)here - at_work->shared));
}

inline float as_float(u32 bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}

inline u32 rounded(float x) {
  u32 bits;
  memcpy(&bits, &x, 4);
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

inline float element(u32 pair, int i) { return as_float((i ? pair >> 16 : pair & 0xffff) << 16); }

// The layout of fragments as PTX defines it for m16n8k16: who has which element of a 16 x 16 and a 16 x 8
// matrix.
inline void multiply_add(float (&sums)[4], const Fragment& a, u32 b_low, u32 b_high) {
  Warp& warp = *at_work->warp;
  const int lane = at_work->thread % 32, turn = at_work->products++ % 2;
  warp.a[turn][lane] = a;
  warp.b[turn][lane][0] = b_low;
  warp.b[turn][lane][1] = b_high;
  wait_at(warp.barrier);
  for (int i = 0; i < 4; i++) {
    const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
    for (int k = 0; k < 16; k++) {
      const u32 left = warp.a[turn][row % 8 * 4 + k % 8 / 2].pairs[row / 8 + k / 8 * 2];
      const u32 right = warp.b[turn][column * 4 + k % 8 / 2][k / 8];
      sums[i] += element(left, k % 2) * element(right, k % 2);
    }
  }
}

inline float exponential(float x) { return std::exp(x); }
inline float tanh_of(float x) { return std::tanh(x); }

inline void begin() {
  (*body)();
  at_work->is_done = true;
  swapcontext(&at_work->context, &scheduler);
}

// Runs one cluster; returns false where its threads wait for each other for ever.
inline bool run_cluster(int first_block, int blocks, int threads, int bytes, unsigned order) {
  shared_memories.assign(blocks, std::vector<unsigned char>(bytes, 0xff));  // what nobody has written is NaN
  std::vector<Barrier> of_blocks(blocks, Barrier{threads});
  std::vector<Warp> warps(blocks * threads / 32);
  std::vector<std::unique_ptr<Coroutine>> all;
  of_cluster = {blocks * threads};
  constexpr size_t STACK = 1 << 16;
  for (int i = 0; i < blocks * threads; i++) {
    auto made = std::make_unique<Coroutine>();
    made->stack = std::make_unique_for_overwrite<char[]>(STACK);
    made->thread = i % threads, made->block = i / threads;
    made->shared = shared_memories[made->block].data();
    made->warp = &warps[i / 32], made->of_block = &of_blocks[made->block];
    getcontext(&made->context);
    made->context.uc_stack.ss_sp = made->stack.get();
    made->context.uc_stack.ss_size = STACK;
    makecontext(&made->context, begin, 0);
    all.push_back(std::move(made));
  }
  const bool is_greedy = order == 1 || order == 2;  // the first one that can goes on, as far as it can
  if (order == 2) std::reverse(all.begin(), all.end());
  if (order > 2) std::shuffle(all.begin(), all.end(), std::mt19937(order));
  for (size_t done = 0; done < all.size();) {
    bool went_on = false;
    for (auto& one : all) {
      if (one->is_done || (one->waits_at && one->waits_at->times == one->since)) continue;
      one->waits_at = nullptr, went_on = true;
      at_work = one.get(), threadIdx = {one->thread}, blockIdx = {first_block + one->block};
      swapcontext(&scheduler, &one->context);
      done += one->is_done;
      if (is_greedy) break;
    }
    if (!went_on) return false;
  }
  return true;
}
