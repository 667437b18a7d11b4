// The kernels of layer.cu as functions of a library for a processor: pointers to all arrays, in order.

#include "host.h"
//
#include "cells.h"
#include "layer.cu"

template <class... Arrays, size_t... I>
static void call(void (*kernel)(Arrays...), void** arrays, std::index_sequence<I...>) {
  kernel((Arrays)arrays[I]...);
}

template <class... Arrays>
static int launch(void (*kernel)(Arrays...), void** arrays, unsigned order) {
  const std::function<void()> once = [&] { call(kernel, arrays, std::index_sequence_for<Arrays...>()); };
  body = &once;
  for (int first = 0; first < (B + ROWS - 1) / ROWS * C; first += C)
    if (!run_cluster(first, C, THREADS, SHARED_BYTES, order)) return 1;
  return 0;
}

extern "C" int run_forward(void** arrays, unsigned order) { return launch(forward, arrays, order); }
extern "C" int run_backward(void** arrays, unsigned order) { return launch(backward, arrays, order); }
