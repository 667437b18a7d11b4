// Ranges, working memory, and tasks on XLA's threads.

#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#if __has_include(<sys/mman.h>)
#include <sys/mman.h>
#endif

#include "xla/ffi/api/ffi.h"

namespace jaxchar {

using Size = int64_t;

struct Part {
  Size begin, end;
  Size size() const { return end - begin; }
};

constexpr Size ceil_div(Size a, Size b) { return (a + b - 1) / b; }

// The i-th of `parts` nearly equal parts.
inline Part part_of(Size size, Size parts, Size i) { return {size * i / parts, size * (i + 1) / parts}; }

// Page-aligned memory, not zeroed, kept from call to call: fresh pages cost more than packing. Large memory
// is in huge pages, where the system has them: fewer TLB misses, and the hardware prefetches only within a
// page.
class Scratch {
 public:
  ~Scratch() { release(); }
  float* at_least(Size size) {
    if (size > size_) {
      release();
      floats_ = new (HUGE_PAGE) float[size];
      size_ = size;
#ifdef MADV_HUGEPAGE
      const size_t bytes = size * sizeof(float);
      if (bytes >= size_t(HUGE_PAGE)) madvise(floats_, bytes, MADV_HUGEPAGE);
#endif
    }
    return floats_;
  }

 private:
  static constexpr std::align_val_t HUGE_PAGE{1 << 21};
  void release() { operator delete[](floats_, HUGE_PAGE); }
  float* floats_ = nullptr;
  Size size_ = 0;
};

// XLA's threads that helped with a short call and wait for the next one: waking a thread takes longer than
// many calls. After a long call they return to XLA: waiting would gain little, and XLA's own products need
// them.
class Helpers {
 public:
  using Work = std::function<bool()>;  // returns whether anything was left to do

  // Hand work to up to `wanted` waiting threads; return how many took it.
  Size give(Size wanted, const Work& work) {
    std::lock_guard<std::mutex> lock(mutex_);
    const Size given = std::min(wanted, waiting_);
    waiting_ -= given;
    given_.insert(given_.end(), given, work);
    num_given_ = given_.size();
    return given;
  }

  // Run the work, then tasks handed over while it waits; stop after an idle millisecond or a long task.
  void work_and_wait(Work work) {
    while (work) {
      const auto begun = Clock::now();
      if (!work() || Clock::now() - begun > PATIENCE) return;
      work = wait();
    }
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds PATIENCE{1};

  Work wait() {
    const auto end = Clock::now() + PATIENCE;
    std::unique_lock<std::mutex> lock(mutex_);
    waiting_++;
    lock.unlock();
    while (!num_given_ && Clock::now() < end) std::this_thread::yield();
    lock.lock();
    if (given_.empty()) {
      waiting_--;
      return nullptr;
    }
    Work work = std::move(given_.back());
    given_.pop_back();
    num_given_ = given_.size();
    return work;
  }

  std::mutex mutex_;
  Size waiting_ = 0;         // threads that wait and have no work yet
  std::vector<Work> given_;  // work handed over, not taken yet
  std::atomic<Size> num_given_{0};
};

inline Helpers& helpers = *new Helpers;  // never destroyed: XLA's threads outlive static objects

// Run task(0) to task(tasks - 1) on XLA's threads and this one. It waits only for tasks that have begun, so
// it ends even if all of XLA's threads are waiting.
template <class Task>
void in_parallel(xla::ffi::ThreadPool& pool, Size tasks, Task task) {
  struct Progress {
    std::atomic<Size> begun{0}, done{0};
  };
  auto progress = std::make_shared<Progress>();
  auto work = [progress, tasks, task] {
    Size i = progress->begun++;
    const bool any = i < tasks;
    for (; i < tasks; i = progress->begun++) {
      task(i);
      progress->done++;
    }
    return any;
  };
  const Size wanted = std::clamp<Size>(tasks - 1, 0, pool.num_threads() - 1);
  for (Size i = helpers.give(wanted, work); i < wanted; i++) {
    pool.Schedule([work] { helpers.work_and_wait(work); });
  }
  work();
  while (progress->done < tasks) std::this_thread::yield();
}

}  // namespace jaxchar
