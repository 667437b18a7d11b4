// Parts of a whole, memory to work in, and tasks on XLA's threads.

#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <thread>

#include "xla/ffi/api/ffi.h"

namespace jaxchar {

using Size = int64_t;

struct Part {
  Size begin, end;
  Size size() const { return end - begin; }
};

inline Size ceil_div(Size a, Size b) { return (a + b - 1) / b; }

// The i-th of so many nearly equal parts.
inline Part part_of(Size size, Size parts, Size i) { return {size * i / parts, size * (i + 1) / parts}; }

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
void in_parallel(xla::ffi::ThreadPool& pool, Size tasks, Task task) {
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

}  // namespace jaxchar
