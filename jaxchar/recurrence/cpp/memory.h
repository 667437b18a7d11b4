// A memory of a text: what followed each context in it, and the gate that mixes this with a network's
// predictions. memory/lookup.py computes the same in NumPy, and describes it.
//
// Letters: N characters of the text, V symbols, K orders, P positions, F features, M hidden units of the
// gate.

#pragma once

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <vector>

#include "threads.h"

namespace jaxchar {

// The sorted contexts of a text, see memory/text_index.py.
template <class Id>
struct TextIndex {
  Size N, V, K;
  const int32_t* orders;        // [K] lengths of contexts, ascending
  const Id *text, *next;        // [N]; next[i] = text[positions[i]]
  const int32_t* positions;     // [N], sorted by the characters before them, the nearest first
  Size common;                  // contexts that are too common to be counted anew each time
  const int32_t* common_keys;   // [common, 2]: number of the order, first of its places; sorted
  const int32_t* common_first;  // [common + 1], where its entries begin
  const int32_t *common_symbols, *common_counts;  // [entries]
};

// What followed one context: counts of the symbols that were seen.
class Seen {
 public:
  explicit Seen(Size V) : counts_(V, 0) {}

  void clear() {
    for (int32_t symbol : symbols) counts_[symbol] = 0;
    symbols.clear();
    total = 0;
  }
  void add(int32_t symbol, int32_t count) {
    if (symbol < 0 || symbol >= Size(counts_.size())) return;  // no symbol: the index was altered
    if (counts_[symbol] == 0) symbols.push_back(symbol);
    counts_[symbol] += count;
    total += count;
  }
  int32_t count(int32_t symbol) const { return counts_[symbol]; }

  std::vector<int32_t> symbols;  // each once
  int64_t total = 0;

 private:
  std::vector<int32_t> counts_;
};

// Looks up contexts of a text.
template <class Id>
class Lookup {
 public:
  explicit Lookup(const TextIndex<Id>& index) : index_(index), seen_(index.V) {}

  // Call visit(k, seen) for each order k: what followed the last orders[k] of some characters.
  // nearest[0] is the last character, nearest[-1] the one before it, and so on, `available` of them.
  template <class Visit>
  void for_each_order(const int32_t* nearest, Size available, Visit visit) {
    Size begin = 0, end = index_.N, depth = 0;
    for (Size k = 0; k < index_.K; k++) {
      for (; depth < index_.orders[k]; depth++) {
        if (depth >= available) end = begin;
        if (begin < end) narrow(begin, end, depth + 1, nearest[-depth]);
      }
      seen_.clear();
      if (begin < end) count(k, begin, end);
      visit(k, seen_);
    }
  }

 private:
  // The symbol so many characters before a position; -1 before the text.
  int32_t before(int32_t position, Size depth) const {
    return position < depth || position >= index_.N ? -1 : int32_t(index_.text[position - depth]);
  }

  // Leave of the places those that have the symbol at this depth.
  void narrow(Size& begin, Size& end, Size depth, int32_t symbol) const {
    const int32_t* positions = index_.positions;
    auto less = [&](int32_t position, int32_t wanted) { return before(position, depth) < wanted; };
    begin = std::lower_bound(positions + begin, positions + end, symbol, less) - positions;
    end = std::lower_bound(positions + begin, positions + end, symbol + 1, less) - positions;
  }

  // Add up what followed at these places.
  void count(Size k, Size begin, Size end) {
    const Size common = find_common(k, begin);
    if (common < 0) {
      for (Size i = begin; i < end; i++) seen_.add(index_.next[i], 1);
      return;
    }
    for (int32_t entry = index_.common_first[common]; entry < index_.common_first[common + 1]; entry++) {
      seen_.add(index_.common_symbols[entry], index_.common_counts[entry]);
    }
  }

  // Return the number of a common context; -1 if this is none.
  Size find_common(Size k, Size begin) const {
    Size low = 0, high = index_.common;
    while (low < high) {
      const Size middle = (low + high) / 2;
      const int32_t* key = index_.common_keys + 2 * middle;
      if (key[0] < k || (key[0] == k && key[1] < begin)) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    const int32_t* key = index_.common_keys + 2 * low;
    return low < index_.common && key[0] == k && key[1] == begin ? low : -1;
  }

  const TextIndex<Id>& index_;
  Seen seen_;
};

// What was counted in a text that is being read, order by order.
class GrowingCounts {
 public:
  struct Context {
    int32_t total = 0, new_kinds = 0;  // symbols that the index had not seen after this context
    std::vector<std::pair<int32_t, int32_t>> counts;  // symbol, count
  };

  Context& at(Size k, uint64_t hash) { return contexts_[hash * 64 + k]; }

 private:
  std::unordered_map<uint64_t, Context> contexts_;
};

struct CountingOptions {
  bool growing;      // count what was read before, too
  bool is_own_text;  // what is read is the text itself: each position's own occurrence is left out
};

// Count, before each of the characters read[first:], how often each context of it was seen, how many kinds of
// symbols followed, and how often the character that did follow. The three are [P, K], P = last - first.
template <class Id>
void count_text(const TextIndex<Id>& index, const int32_t* read, Size first, Size last,
                CountingOptions options, int32_t* occurrences, int32_t* kinds, int32_t* hits) {
  Lookup<Id> lookup(index);
  GrowingCounts growing;
  for (Size p = options.growing ? 0 : first; p < last; p++) {
    const int32_t target = read[p];
    uint64_t hash = 0;
    Size hashed = 0;
    lookup.for_each_order(read + p - 1, p, [&](Size k, const Seen& seen) {
      int32_t total = seen.total, different = seen.symbols.size();
      int32_t hit = target >= 0 && target < index.V ? seen.count(target) : 0;
      if (options.is_own_text && hit > 0) {
        different -= hit == 1;
        total--;
        hit--;
      }
      if (options.growing && p >= index.orders[k]) {
        for (; hashed < index.orders[k]; hashed++) {
          hash = (hash ^ uint64_t(read[p - 1 - hashed] + 1)) * 0x9E3779B97F4A7C15u;
          hash ^= hash >> 29;
        }
        GrowingCounts::Context& context = growing.at(k, hash);
        auto same = [&](const std::pair<int32_t, int32_t>& entry) { return entry.first == target; };
        auto found = std::find_if(context.counts.begin(), context.counts.end(), same);
        total += context.total;
        different += context.new_kinds;
        if (found != context.counts.end()) {
          hit += found->second++;
        } else {
          context.counts.emplace_back(target, 1);
          context.new_kinds += hit == 0;
        }
        context.total++;
      }
      if (p >= first) {
        const Size at = (p - first) * index.K + k;
        occurrences[at] = total;
        kinds[at] = different;
        hits[at] = hit;
      }
    });
  }
}

// The gate: a network of one hidden layer, see memory/gate.py.
struct Gate {
  Size K, M;                        // F = 3 * K + 2
  const float *inner, *inner_bias;  // [F, M], [M]
  const float *outer, *outer_bias;  // [M, 1 + K], [1 + K]

  // Return the weights of the network and of each order, [1 + K]. An order that has not seen its context has
  // none.
  void weigh(const float* features, float* weights) const {
    const Size F = 3 * K + 2;
    std::copy(outer_bias, outer_bias + 1 + K, weights);
    for (Size m = 0; m < M; m++) {
      float sum = inner_bias[m];
      for (Size f = 0; f < F; f++) sum += features[f] * inner[f * M + m];
      const float unit = std::tanh(sum);
      for (Size k = 0; k <= K; k++) weights[k] += unit * outer[m * (1 + K) + k];
    }
    const float* was_seen = features + 2 * K;
    float most = weights[0], total = 0;
    for (Size k = 0; k < K; k++) {
      if (was_seen[k]) most = std::max(most, weights[1 + k]);
    }
    for (Size k = 0; k <= K; k++) {
      weights[k] = k == 0 || was_seen[k - 1] ? std::exp(weights[k] - most) : 0;
      total += weights[k];
    }
    for (Size k = 0; k <= K; k++) weights[k] /= total;
  }
};

struct MixingOptions {
  float share;   // of the mixture; the rest is the network's alone
  Size longest;  // contexts that are longer count as not seen
};

// Mix a network's logits, [V], with what followed the last characters; write the logarithms of the mixture.
template <class Id>
void mix(Lookup<Id>& lookup, const TextIndex<Id>& index, const Gate& gate, const int32_t* nearest,
         Size available, MixingOptions options, const float* logits, float* mixed) {
  const Size V = index.V, K = index.K;
  std::vector<float> features(3 * K + 2), weights(1 + K), network(V), orders(K * V);
  const float most = *std::max_element(logits, logits + V);
  float total = 0, entropy = 0;
  for (Size v = 0; v < V; v++) total += network[v] = std::exp(logits[v] - most);
  for (Size v = 0; v < V; v++) {
    network[v] /= total;
    if (network[v] > 0) entropy -= network[v] * (logits[v] - most - std::log(total));
  }
  lookup.for_each_order(nearest, std::min(available, options.longest), [&](Size k, const Seen& seen) {
    const float n = seen.total, d = seen.symbols.size();
    float* here = &orders[k * V];
    if (k) {
      std::copy(here - V, here, here);
    } else {
      std::fill(here, here + V, 1.0f / V);
    }
    if (seen.total) {
      for (Size v = 0; v < V; v++) here[v] *= d / (n + d);
      for (int32_t symbol : seen.symbols) here[symbol] += seen.count(symbol) / (n + d);
    }
    features[k] = std::log1p(n) / 5;
    features[K + k] = std::log1p(d) / 3;
    features[2 * K + k] = seen.total > 0;
  });
  features[3 * K] = entropy / 2;
  features[3 * K + 1] = -std::log(total);
  gate.weigh(features.data(), weights.data());
  for (Size k = 0; k <= K; k++) weights[k] *= options.share;
  weights[0] += 1 - options.share;
  for (Size v = 0; v < V; v++) mixed[v] = weights[0] * network[v];
  for (Size k = 0; k < K; k++) {
    for (Size v = 0; v < V; v++) mixed[v] += weights[1 + k] * orders[k * V + v];
  }
  for (Size v = 0; v < V; v++) mixed[v] = std::log(mixed[v]);
}

}  // namespace jaxchar
