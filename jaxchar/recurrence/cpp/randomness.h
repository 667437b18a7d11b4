// The random bits of texts, as jax.random draws them with threefry2x32: Salmon et al. 2011, "Parallel random
// numbers: as easy as 1, 2, 3", with 20 rounds. All of it is arithmetic of whole numbers, so the bits are the
// same.

#pragma once

#include <cstdint>
#include <cstring>

#include "threads.h"

namespace jaxchar {

struct Words {
  uint32_t first, second;
};

constexpr int ROTATIONS[2][4] = {{13, 15, 26, 6}, {17, 29, 16, 24}};

// Four rounds, and the key added after them.
template <int GROUP>
inline void mix_words(Words& words, uint32_t first_key, uint32_t second_key) {
  for (int rotation : ROTATIONS[GROUP % 2]) {
    words.first += words.second;
    words.second = (words.second << rotation) | (words.second >> (32 - rotation));
    words.second ^= words.first;
  }
  words.first += first_key;
  words.second += second_key + GROUP + 1;
}

inline Words threefry(Words key, Words counter) {
  const uint32_t third = key.first ^ key.second ^ 0x1BD11BDA;
  Words words = {counter.first + key.first, counter.second + key.second};
  mix_words<0>(words, key.second, third);
  mix_words<1>(words, third, key.first);
  mix_words<2>(words, key.first, key.second);
  mix_words<3>(words, key.second, third);
  mix_words<4>(words, third, key.first);
  return words;
}

// jax.random.bits(fold_in(key, first + n), (V,)) for n = 0 ... N - 1, of each of B keys.
struct RandomBits {
  Size B, N, V;
  uint32_t first;
  const uint32_t* keys;  // [B, 2]
  uint32_t* bits;        // [B, N, V]

  void run(xla::ffi::ThreadPool& pool) const {
    const Size tasks = B == 1 ? 1 : std::min<Size>(B, pool.num_threads());
    in_parallel(pool, tasks, [this, tasks](Size i) {
      const Part part = part_of(B * N, tasks, i);
      for (Size row = part.begin; row < part.end; row++) row_of_bits(row);
    });
  }

 private:
  void row_of_bits(Size row) const {
    const uint32_t* key = keys + 2 * (row / N);
    const Words folded = threefry({key[0], key[1]}, {0, first + uint32_t(row % N)});
    uint32_t* to = bits + row * V;
#pragma GCC ivdep
    for (Size v = 0; v < V; v++) {
      const Words words = threefry(folded, {0, uint32_t(v)});
      to[v] = words.first ^ words.second;
    }
  }
};

}  // namespace jaxchar
