// Threads, simdgroups, threadgroups, and who runs next.
#include "metal/simulator/engine.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <mutex>
#include <new>
#include <numeric>
#include <random>
#include <utility>

#include "metal/simulator/fibers.h"
#include "metal/simulator/sanitizer.h"

namespace cermet::metal::simulator {
namespace {

constexpr std::size_t kValueBytes = 64;  // the most that a lane gives to an operation

struct Thread {
  cermet_thread view;
  Fiber* fiber;       // while it has begun and not ended
  const void* site;   // of the operation it waits for
  unsigned argument;  // of the barrier: its flags; of an operation: the bytes of the lane's value
};

// Sets of lanes, one bit each. A lane that is in none of the first five runs or has ended.
struct Simdgroup {
  std::uint32_t fresh, ready, at_operation, at_barrier, at_threadgroup_barrier;
  std::uint32_t all, abandoned;
  std::uint32_t active;  // the lanes of the operation that completed last
  alignas(64) std::byte exchange[kSimdWidth][kValueBytes];
  alignas(64) std::byte published[kSimdWidth][kValueBytes];

  std::uint32_t runnable() const { return fresh | ready; }
  std::uint32_t at_simd() const { return at_operation | at_barrier; }
  std::uint32_t alive() const { return runnable() | at_simd() | at_threadgroup_barrier; }
};

struct ThreadgroupVariable {
  int id;
  std::size_t offset, bytes;
};

// Threadgroup memory lies in an arena with gaps, so that a check sees where a variable ends. Its
// address space is large and its pages are made when touched.
constexpr std::size_t kArenaBytes = std::size_t{64} << 20;
constexpr std::size_t kArenaGap = 1024;
constexpr int kPoison = 0xff;  // what was not written reads as NaN

[[noreturn]] void reject(const KernelInfo& kernel, const std::string& what) {
  throw std::invalid_argument("kernel " + kernel.name + ": " + what);
}

unsigned lowest(std::uint32_t lanes) { return static_cast<unsigned>(std::countr_zero(lanes)); }

// The one global state of the simulator: compiled kernels call back without a context. One dispatch
// holds it at a time.
class Engine {
 public:
  static Engine& instance() {
    static Engine* const engine = new Engine;  // for as long as anything in the process may run
    return *engine;
  }

  void run(const Dispatch& dispatch, const Options& options, Counters& counters);
  void declare(const void* data, std::size_t bytes, bool undefined) {
    const std::lock_guard lock(mutex_);
    sanitizer_.set_undefined(data, bytes, undefined);
  }
  void forget() {
    const std::lock_guard lock(mutex_);
    sanitizer_.forget();
  }

 private:
  Engine();

  void bind(const Dispatch& dispatch);
  void begin_threadgroup(const Dispatch& dispatch, Size position);
  void shape_threadgroup(const Dispatch& dispatch, Size size);

  // The scheduler; it runs on the fibers.
  static void fiber_body();
  void begin(Thread& thread);
  void wait(std::uint32_t Simdgroup::* set, const void* site, unsigned argument);
  Thread* next(std::uint32_t simdgroup);
  void complete(std::uint32_t simdgroup);
  static void publish(Simdgroup& simdgroup, std::uint32_t lanes, unsigned bytes);
  void release_threadgroup_barrier();
  void resume(Thread* thread, Fiber* finished = nullptr);
  void abandon();
  void stop(const char* error, std::size_t limit);

  // What kernels call.
  static cermet_runtime_table runtime_table();
  unsigned long threadgroup_variable(int id, std::size_t bytes, std::size_t alignment);
  std::size_t allocate(std::size_t bytes, std::size_t alignment, std::string name);
  void access(const MemoryAccess& access);

  std::uint32_t index(const Thread& thread) const {
    return static_cast<std::uint32_t>(&thread - threads_.data());
  }

  std::mutex mutex_;
  cermet_runtime_table table_ = runtime_table();
  FiberPool fibers_;
  Sanitizer sanitizer_;
  std::mt19937_64 random_;
  std::vector<Thread> threads_;  // of the largest threadgroup
  std::vector<Simdgroup> simdgroups_;
  std::byte* arena_ = nullptr;

  // The dispatch that runs.
  const KernelInfo* kernel_ = nullptr;
  cermet_thread** library_current_ = nullptr;
  cermet_arguments arguments_{};
  Options options_;
  bool watching_ = false;  // the sanitizer wants to see accesses
  Counters* counters_ = nullptr;
  std::string error_;
  std::vector<ThreadgroupVariable> variables_;
  std::size_t arena_top_ = 0, threadgroup_bytes_ = 0;

  // The threadgroup that runs.
  Size position_, size_, origin_;  // origin: where its first thread is in the grid
  std::uint32_t thread_count_ = 0, simdgroup_count_ = 0, alive_ = 0, abandoned_ = 0;
  Thread* current_ = nullptr;
  Fiber* running_ = nullptr;
  Fiber* main_ = nullptr;  // where run() waits
};

Engine::Engine() : threads_(kMaxThreads), simdgroups_(kMaxThreads / kSimdWidth) {
  void* arena = mmap(nullptr, kArenaBytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (arena == MAP_FAILED) throw std::bad_alloc();
  arena_ = static_cast<std::byte*>(arena);
}

// ---- Dispatches --------------------------------------------------------------------------------
void check_limits(const Dispatch& dispatch) {
  const KernelInfo& kernel = *dispatch.kernel;
  const auto threads = dispatch.group.product();
  const auto limit = static_cast<std::uint64_t>(std::min(kernel.max_threads, kMaxThreads));
  if (threads == 0 || threads > limit) {
    reject(kernel, "a threadgroup of " + std::to_string(threads) + " threads; it may have 1 to " +
                       std::to_string(limit));
  }
  if (dispatch.grid.product() == 0) reject(kernel, "the grid has no threads");
  for (const Parameter& parameter : kernel.buffers) {
    const auto binds = [&](const Binding& b) { return b.slot == parameter.slot; };
    if (std::none_of(dispatch.buffers.begin(), dispatch.buffers.end(), binds)) {
      reject(kernel, "nothing is bound to buffer " + std::to_string(parameter.slot));
    }
  }
  std::size_t total = 0;
  for (const std::size_t bytes : dispatch.threadgroup_bytes) {
    total += bytes;
    if (bytes % 16 != 0 || total > kThreadgroupBytes) {
      reject(kernel,
             std::to_string(bytes) +
                 " bytes of threadgroup memory; they must be a multiple of 16, in all at most " +
                 std::to_string(kThreadgroupBytes));
    }
  }
}

const FunctionConstant* find_constant(const CompiledLibrary& library, const Constant& value) {
  const auto it = std::find_if(library.constants.begin(), library.constants.end(),
                               [&](const FunctionConstant& c) { return c.index == value.index; });
  return it == library.constants.end() ? nullptr : &*it;
}

// How the types of Constant are called in Metal, and their bytes.
struct ConstantType {
  const char* name;
  std::size_t bytes;
};
constexpr ConstantType kConstantTypes[] = {{"bool", 1}, {"int", 4}, {"uint", 4}, {"float", 4}};
const ConstantType& type_of(const Constant& value) {
  return kConstantTypes[static_cast<int>(value.type)];
}

void set_constants(const CompiledLibrary& library, std::span<const Constant> constants) {
  check_constants(library, constants);
  for (const FunctionConstant& constant : library.constants) {
    *constant.defined = false;
    for (const ConstantType& type : kConstantTypes) {
      if (constant.type == type.name) std::memset(constant.value, 0, type.bytes);
    }
  }
  for (const Constant& value : constants) {
    if (const FunctionConstant* constant = find_constant(library, value)) {
      std::memcpy(constant->value, &value.bits, type_of(value).bytes);
      *constant->defined = true;
    }
  }
}

Size threadgroups_of(const Dispatch& dispatch) {
  const Size grid = dispatch.grid, group = dispatch.group;
  return {(grid.x - 1) / group.x + 1, (grid.y - 1) / group.y + 1, (grid.z - 1) / group.z + 1};
}

void Engine::run(const Dispatch& dispatch, const Options& options, Counters& counters) {
  const std::lock_guard lock(mutex_);
  check_limits(dispatch);
  set_constants(*dispatch.library, dispatch.constants);
  Fiber main;
  main_ = running_ = &main;
  kernel_ = dispatch.kernel;
  library_current_ = dispatch.library->current;
  *dispatch.library->runtime = &table_;
  options_ = options;
  watching_ = options.sanitize || options.count;
  counters_ = &counters;
  error_.clear();
  if (options.shuffle) random_.seed(options.seed);
  bind(dispatch);

  const Size groups = threadgroups_of(dispatch);
  std::vector<std::uint64_t> order(options.shuffle ? groups.product() : 0);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), random_);
  size_ = {0, 0, 0};
  ++counters.dispatches;
  for (std::uint64_t i = 0; i < groups.product() && error_.empty(); ++i) {
    const auto g = options.shuffle ? order[i] : i;
    const auto row = g / groups.x;
    begin_threadgroup(dispatch, {static_cast<std::uint32_t>(g % groups.x),
                                 static_cast<std::uint32_t>(row % groups.y),
                                 static_cast<std::uint32_t>(row / groups.y)});
    resume(next(0));
    ++counters.threadgroups;
    counters.threads += thread_count_;
    counters.max_threads = std::max<std::uint64_t>(counters.max_threads, thread_count_);
  }
  counters.max_threadgroup_bytes =
      std::max<std::uint64_t>(counters.max_threadgroup_bytes, threadgroup_bytes_);
  if (!error_.empty()) {
    for (Thread& thread : threads_) {
      if (thread.fiber) fibers_.give(std::exchange(thread.fiber, nullptr));
    }
    reject(*kernel_, error_);
  }
  if (options.sanitize) sanitizer_.raise();
}

// Lays out the arguments, and tells the sanitizer what memory there is.
void Engine::bind(const Dispatch& dispatch) {
  if (watching_) sanitizer_.begin_dispatch(dispatch, options_, *counters_);
  arguments_ = {};
  for (const Binding& b : dispatch.buffers) {
    const auto address = reinterpret_cast<std::uintptr_t>(b.address);
    arguments_.buffers[b.slot] = address;
    const auto parameter = std::find_if(kernel_->buffers.begin(), kernel_->buffers.end(),
                                        [&](const Parameter& p) { return p.slot == b.slot; });
    if (!watching_ || parameter == kernel_->buffers.end()) continue;
    sanitizer_.add_region({address - b.before, b.before + b.bytes,
                           parameter->constant ? Space::constant : Space::device,
                           parameter->writable && b.writable, "buffer " + std::to_string(b.slot)});
  }
  if (watching_) {
    const auto internal = [&](const auto* data, std::size_t bytes) {
      sanitizer_.add_region(
          {reinterpret_cast<std::uintptr_t>(data), bytes, Space::internal, true, ""});
    };
    internal(&arguments_, sizeof arguments_);
    internal(threads_.data(), threads_.size() * sizeof(Thread));
    internal(simdgroups_.data(), simdgroups_.size() * sizeof(Simdgroup));
  }
  variables_.clear();
  arena_top_ = threadgroup_bytes_ = 0;
  for (std::size_t slot = 0; slot < dispatch.threadgroup_bytes.size(); ++slot) {
    const auto bytes = dispatch.threadgroup_bytes[slot];
    const auto offset = allocate(bytes, 16, "threadgroup argument " + std::to_string(slot));
    variables_.push_back({-1, offset, bytes});
    arguments_.threadgroup[slot] = reinterpret_cast<std::uintptr_t>(arena_ + offset);
  }
}

void Engine::begin_threadgroup(const Dispatch& dispatch, Size position) {
  const Size grid = dispatch.grid, group = dispatch.group;
  position_ = position;
  origin_ = {position.x * group.x, position.y * group.y, position.z * group.z};
  const Size size{std::min(group.x, grid.x - origin_.x), std::min(group.y, grid.y - origin_.y),
                  std::min(group.z, grid.z - origin_.z)};
  if (size.x != size_.x || size.y != size_.y || size.z != size_.z) {
    shape_threadgroup(dispatch, size);
  }
  alive_ = thread_count_;
  abandoned_ = 0;
  for (std::uint32_t i = 0; i < simdgroup_count_; ++i) {
    Simdgroup& s = simdgroups_[i];
    s.fresh = s.active = s.all;
    s.ready = s.at_operation = s.at_barrier = s.at_threadgroup_barrier = s.abandoned = 0;
  }
  for (const ThreadgroupVariable& v : variables_) std::memset(arena_ + v.offset, kPoison, v.bytes);
  if (watching_) sanitizer_.begin_threadgroup(position, size);
}

// What stays the same from one threadgroup of this size to the next.
void Engine::shape_threadgroup(const Dispatch& dispatch, Size size) {
  const auto set = [](unsigned (&axes)[3], Size s) { axes[0] = s.x, axes[1] = s.y, axes[2] = s.z; };
  size_ = size;
  thread_count_ = static_cast<std::uint32_t>(size.product());
  simdgroup_count_ = (thread_count_ - 1) / kSimdWidth + 1;
  for (std::uint32_t i = 0; i < simdgroup_count_; ++i) {
    const auto lanes = std::min<std::uint32_t>(kSimdWidth, thread_count_ - i * kSimdWidth);
    simdgroups_[i].all = ~std::uint32_t{0} >> (kSimdWidth - lanes);
  }
  for (std::uint32_t i = 0; i < thread_count_; ++i) {
    const auto simdgroup = i / kSimdWidth;
    cermet_thread& t = threads_[i].view;
    set(t.thread_position_in_threadgroup, {i % size.x, i / size.x % size.y, i / size.x / size.y});
    set(t.threads_per_grid, dispatch.grid);
    set(t.threads_per_threadgroup, size);
    set(t.threadgroups_per_grid, threadgroups_of(dispatch));
    set(t.dispatch_threads_per_threadgroup, dispatch.group);
    t.thread_index_in_threadgroup = i;
    t.thread_index_in_simdgroup = i % kSimdWidth;
    t.simdgroup_index_in_threadgroup = simdgroup;
    t.simdgroups_per_threadgroup = simdgroup_count_;
    t.exchange = reinterpret_cast<std::uintptr_t>(simdgroups_[simdgroup].exchange);
    t.published = reinterpret_cast<std::uintptr_t>(simdgroups_[simdgroup].published);
  }
}

// ---- The scheduler -----------------------------------------------------------------------------
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
    if (options_.sanitize && active != expected) {
      sanitizer_.divergent("simdgroup_barrier", std::popcount(active), std::popcount(expected),
                           lanes[first].site, others ? lanes[lowest(others)].site : nullptr,
                           index * kSimdWidth + first);
    }
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
    if (bytes <= 8) {
      std::memcpy(s.published[lane], s.exchange[lane], 8);
    } else {
      std::memcpy(s.published[lane], s.exchange[lane], kValueBytes);
    }
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
  if (options_.sanitize && (elsewhere || alive_ != expected)) {
    sanitizer_.divergent("threadgroup_barrier", alive_, expected, first->site,
                         elsewhere ? elsewhere->site : nullptr, index(*first));
  }
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

// ---- What kernels call -------------------------------------------------------------------------
cermet_runtime_table Engine::runtime_table() {
  cermet_runtime_table t;
  t.simd_sync = [](unsigned bytes, const void* site) {
    instance().wait(&Simdgroup::at_operation, site, bytes);
  };
  t.simdgroup_barrier = [](int flags, const void* site) {
    instance().wait(&Simdgroup::at_barrier, site, static_cast<unsigned>(flags));
  };
  t.threadgroup_barrier = [](int flags, const void* site) {
    instance().wait(&Simdgroup::at_threadgroup_barrier, site, static_cast<unsigned>(flags));
  };
  t.threadgroup_variable = [](int id, unsigned long bytes, unsigned long alignment, const void*) {
    return instance().threadgroup_variable(id, bytes, alignment);
  };
  t.max_threads = [](int limit, const void*) {
    Engine& engine = instance();
    if (engine.thread_count_ > static_cast<std::uint32_t>(limit)) {
      engine.stop("the threadgroup has more threads than max_total_threads_per_threadgroup, ",
                  static_cast<std::size_t>(limit));
    }
  };
  t.atomic = [](unsigned long address, unsigned size, int writes, const void* site) {
    Engine& engine = instance();
    ++engine.counters_->atomics;
    if (engine.watching_)
      engine.access({address, size, writes != 1, writes != 0, true, true, site});
  };
  t.count_macs = [](unsigned long count) { instance().counters_->simdgroup_macs += count; };
  t.access = [](unsigned long address, unsigned long size, int writes, const void* site) {
    const bool write = writes & 1;
    Engine& engine = instance();
    if (engine.watching_) engine.access({address, size, !write, write, false, writes < 2, site});
  };
  return t;
}

unsigned long Engine::threadgroup_variable(int id, std::size_t bytes, std::size_t alignment) {
  auto variable = std::find_if(variables_.begin(), variables_.end(),
                               [&](const ThreadgroupVariable& v) { return v.id == id; });
  if (variable == variables_.end()) {
    const auto offset = allocate(bytes, alignment, "a threadgroup variable");
    if (threadgroup_bytes_ > kThreadgroupBytes) {
      stop("more threadgroup memory than the limit of bytes, ", kThreadgroupBytes);
    }
    std::memset(arena_ + offset, kPoison, bytes);
    variable = variables_.insert(variables_.end(), {id, offset, bytes});
  }
  return reinterpret_cast<std::uintptr_t>(arena_ + variable->offset);
}

// The offset of new threadgroup memory in the arena.
std::size_t Engine::allocate(std::size_t bytes, std::size_t alignment, std::string name) {
  const auto round_up = [&](std::size_t n) { return (n + alignment - 1) / alignment * alignment; };
  threadgroup_bytes_ = round_up(threadgroup_bytes_) + bytes;
  const auto offset = round_up(arena_top_ + kArenaGap);
  arena_top_ = offset + bytes;
  if (watching_) {
    sanitizer_.add_region({reinterpret_cast<std::uintptr_t>(arena_ + offset), bytes,
                           Space::threadgroup, true, std::move(name)});
  }
  return offset;
}

void Engine::access(const MemoryAccess& access) {
  if (running_->on_stack(access.address)) return;
  if (!sanitizer_.access(access, index(*current_))) abandon();
}

}  // namespace

// ---- The interface -----------------------------------------------------------------------------
void check_constants(const CompiledLibrary& library, std::span<const Constant> constants) {
  for (const Constant& value : constants) {
    const FunctionConstant* constant = find_constant(library, value);
    const char* type = type_of(value).name;
    if (constant && constant->type != type) {
      throw std::invalid_argument("function constant " + constant->name + " (index " +
                                  std::to_string(value.index) + ") is of type " + constant->type +
                                  ", its value of type " + type);
    }
  }
}

Size grid_of(Size threadgroups, Size group) {
  const auto threads = [](std::uint64_t n, std::uint32_t each) {
    if (n * each > std::numeric_limits<std::uint32_t>::max()) {
      throw std::invalid_argument("dispatch: more than 2^32 threads along an axis");
    }
    return static_cast<std::uint32_t>(n * each);
  };
  return {threads(threadgroups.x, group.x), threads(threadgroups.y, group.y),
          threads(threadgroups.z, group.z)};
}

void run(const Dispatch& dispatch, const Options& options, Counters& counters) {
  Engine::instance().run(dispatch, options, counters);
}

void declare_undefined(const void* data, std::size_t bytes) {
  Engine::instance().declare(data, bytes, true);
}

void declare_defined(const void* data, std::size_t bytes) {
  Engine::instance().declare(data, bytes, false);
}

void forget_declarations() { Engine::instance().forget(); }

}  // namespace cermet::metal::simulator
