// Who runs next: threads take turns as fibers.
#include "metal/simulator/engine_state.h"

#include <bit>
#include <cstring>
#include <utility>

namespace cermet::metal::simulator {
namespace {

unsigned lowest(std::uint32_t lanes) { return static_cast<unsigned>(std::countr_zero(lanes)); }

}  // namespace

// A fiber takes on one thread after the other: kernels that never wait run as a plain loop.
void Engine::fiber_body() {
  Fiber::started();
  Engine& engine = instance();
  for (;;) {
    engine.kernel_->entry(&engine.arguments_);
    Thread& ended = *engine.current_;
    Fiber* fiber = std::exchange(ended.fiber, nullptr);
    --engine.alive_;
    Thread* next = engine.next(engine.index(ended) / kSimdWidth);
    if (!next || next->fiber) engine.resume(next, fiber);
    next->fiber = fiber;
    engine.begin(*next);
  }
}

void Engine::begin(Thread& thread) {
  cermet_thread& t = thread.view;
  const std::uint32_t position[] = {position_.x, position_.y, position_.z};
  const std::uint32_t origin[] = {origin_.x, origin_.y, origin_.z};
  for (int axis = 0; axis < 3; ++axis) {
    t.threadgroup_position_in_grid[axis] = position[axis];
    t.thread_position_in_grid[axis] = origin[axis] + t.thread_position_in_threadgroup[axis];
  }
  t.active = simdgroups_[t.simdgroup_index_in_threadgroup].all;
  current_ = &thread;
  *library_current_ = &t;
}

// Runs `thread`, or run() when there is none. A finished fiber is given back and never resumed.
void Engine::resume(Thread* thread, Fiber* finished) {
  Fiber* to = main_;
  if (thread && !thread->fiber) {
    to = thread->fiber = fibers_.take();
    to->restart(fiber_body);
    begin(*thread);
  } else if (thread) {
    to = thread->fiber;
    current_ = thread;
    *library_current_ = &thread->view;
  }
  if (finished) fibers_.give(finished);
  Fiber::change(*std::exchange(running_, to), *to);
}

// Puts the running thread into a set and runs others until it is released.
void Engine::wait(std::uint32_t Simdgroup::* set, const void* site, unsigned argument) {
  Thread& self = *current_;
  const auto i = index(self);
  Simdgroup& simdgroup = simdgroups_[i / kSimdWidth];
  self.site = site;
  self.argument = argument;
  simdgroup.*set |= 1U << i % kSimdWidth;
  Thread* thread = next(i / kSimdWidth);
  if (thread != &self) resume(thread);
  self.view.active = simdgroup.active;
}

// Takes the next thread to run, from this simdgroup if possible; null when all have ended.
Thread* Engine::next(std::uint32_t simdgroup) {
  if (options_.shuffle) simdgroup = static_cast<std::uint32_t>(random_() % simdgroup_count_);
  for (;;) {
    for (std::uint32_t i = 0; i < simdgroup_count_; ++i) {
      Simdgroup& s = simdgroups_[simdgroup];
      if (!s.runnable() && s.at_simd()) complete(simdgroup);
      if (auto lanes = s.runnable()) {
        const auto skip = options_.shuffle ? random_() % std::popcount(lanes) : 0;
        for (std::size_t n = 0; n < skip; ++n) lanes &= lanes - 1;
        const auto lane = lowest(lanes);
        s.fresh &= ~(1U << lane);
        s.ready &= ~(1U << lane);
        return &threads_[simdgroup * kSimdWidth + lane];
      }
      if (++simdgroup == simdgroup_count_) simdgroup = 0;
    }
    if (alive_ == 0) return nullptr;
    release_threadgroup_barrier();
  }
}

// All lanes have stopped or ended: completes the operation or, if there is none, the barrier that
// comes first in the code, so that lanes that left a branch wait for those within.
void Engine::complete(std::uint32_t index) {
  Simdgroup& s = simdgroups_[index];
  Thread* lanes = &threads_[index * kSimdWidth];
  const bool barrier = s.at_operation == 0;
  std::uint32_t& waiting = barrier ? s.at_barrier : s.at_operation;
  unsigned first = lowest(waiting);
  std::uint32_t active = 0;
  for (auto rest = waiting; rest; rest &= rest - 1) {
    const unsigned lane = lowest(rest);
    if (lanes[lane].site < lanes[first].site) first = lane, active = 0;
    if (lanes[lane].site == lanes[first].site) active |= 1U << lane;
  }
  const auto others = s.alive() & ~active;
  if (barrier) {
    ++counters_->simdgroup_barriers;
    const auto expected = s.all & ~s.abandoned;
    if (options_.sanitize && active != expected)
      sanitizer_.divergent("simdgroup_barrier", std::popcount(active), std::popcount(expected),
                           lanes[first].site, others ? lanes[lowest(others)].site : nullptr,
                           index * kSimdWidth + first);
    if (watching_) sanitizer_.simdgroup_barrier(index, lanes[first].argument);
  } else {
    ++counters_->simd_operations;
    publish(s, active, lanes[first].argument);
  }
  s.active = active;
  s.ready = active;
  waiting &= ~active;
}

// Copies the values of the lanes to where they read: they may bring the next ones before all have
// read these. Slots are copied by whole words, which are there whatever the value's size.
void Engine::publish(Simdgroup& s, std::uint32_t lanes, unsigned bytes) {
  for (auto rest = lanes; rest; rest &= rest - 1) {
    const auto lane = lowest(rest);
    if (bytes <= 8)
      std::memcpy(s.published[lane], s.exchange[lane], 8);
    else
      std::memcpy(s.published[lane], s.exchange[lane], kValueBytes);
  }
}

// Every thread waits at a threadgroup barrier or has ended.
void Engine::release_threadgroup_barrier() {
  const Thread* first = nullptr;
  const Thread* elsewhere = nullptr;
  for (std::uint32_t i = 0; i < simdgroup_count_; ++i) {
    Simdgroup& s = simdgroups_[i];
    for (auto rest = s.at_threadgroup_barrier; rest; rest &= rest - 1) {
      const Thread& thread = threads_[i * kSimdWidth + lowest(rest)];
      if (!first) first = &thread;
      if (thread.site != first->site) elsewhere = &thread;
    }
    s.ready = std::exchange(s.at_threadgroup_barrier, 0);
  }
  ++counters_->threadgroup_barriers;
  const auto expected = thread_count_ - abandoned_;
  if (options_.sanitize && (elsewhere || alive_ != expected))
    sanitizer_.divergent("threadgroup_barrier", alive_, expected, first->site,
                         elsewhere ? elsewhere->site : nullptr, index(*first));
  if (watching_) sanitizer_.threadgroup_barrier(first->argument);
}

// Ends the running thread in the middle of its work.
void Engine::abandon() {
  Thread& thread = *current_;
  const auto i = index(thread);
  simdgroups_[i / kSimdWidth].abandoned |= 1U << i % kSimdWidth;
  --alive_;
  ++abandoned_;
  sanitizer_.abandoned();
  Fiber* fiber = std::exchange(thread.fiber, nullptr);
  resume(next(i / kSimdWidth), fiber);
}

// Ends the dispatch. Nothing that needs a destructor may be left on this stack.
void Engine::stop(const char* error, std::size_t limit) {
  error_ = error + std::to_string(limit);
  resume(nullptr);
}

}  // namespace cermet::metal::simulator
