// What layer.cu needs of a card. The tests put another text in its place, which does the same on a processor.

#pragma once

typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned long long u64;

#define DEVICE __device__ __forceinline__
#if BLOCKS > 1
#define CLUSTER __cluster_dims__(BLOCKS, 1, 1)
#else
#define CLUSTER
#endif
#define KERNEL extern "C" __global__ void CLUSTER __launch_bounds__(PADDED / BLOCKS * 4, 1)
#define SHARED_MEMORY(name) extern __shared__ __align__(16) unsigned char name[]

struct alignas(16) Fragment {
  u32 pairs[4];
};

DEVICE void synchronize_block() { __syncthreads(); }

// Waits for all threads of all blocks of a cluster; what they wrote before is seen after.
DEVICE void synchronize_cluster() {
#if BLOCKS > 1
  asm volatile("barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;" ::: "memory");
#else
  __syncthreads();
#endif
}

// The address that a place in shared memory has in another block of the cluster.
template <class Place>
DEVICE Place* in_block(Place* here, int block) {
#if BLOCKS > 1
  u64 there;
  asm volatile("mapa.u64 %0, %1, %2;" : "=l"(there) : "l"((u64)here), "r"(block));
  return (Place*)there;
#else
  return here;
#endif
}

DEVICE float as_float(u32 bits) { return __uint_as_float(bits); }

// The bits of a number rounded to bfloat16, ties to even.
DEVICE u32 rounded(float x) {
  u32 pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(0.0f), "f"(x));
  return pair;
}

// sums += a b on a tensor core: a is 16 x 16, b 16 x 8, both bfloat16; the sums are float32.
DEVICE void multiply_add(float (&sums)[4], const Fragment& a, u32 b_low, u32 b_high) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a.pairs[0]), "r"(a.pairs[1]), "r"(a.pairs[2]), "r"(a.pairs[3]), "r"(b_low), "r"(b_high));
}

// Where products are rounded to bfloat16 anyway, the card's own exponential is exact enough.
DEVICE float exponential(float x) { return PARTS == 1 ? __expf(x) : expf(x); }
DEVICE float tanh_of(float x) { return PARTS == 1 ? 2.0f / (1.0f + __expf(-2.0f * x)) - 1.0f : tanhf(x); }
