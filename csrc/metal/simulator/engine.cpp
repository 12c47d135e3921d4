// Dispatches: their limits, arguments and threadgroups, one after the other.
#include "metal/simulator/engine.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>
#include <numeric>
#include <utility>

#include "metal/simulator/engine_state.h"

namespace cermet::metal::simulator {
namespace {

[[noreturn]] void reject(const KernelInfo& kernel, const std::string& what) {
  throw std::invalid_argument("kernel " + kernel.name + ": " + what);
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
    if (std::none_of(dispatch.buffers.begin(), dispatch.buffers.end(), binds))
      reject(kernel, "nothing is bound to buffer " + std::to_string(parameter.slot));
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
    for (const ConstantType& type : kConstantTypes)
      if (constant.type == type.name) std::memset(constant.value, 0, type.bytes);
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

}  // namespace

Engine::Engine() : threads_(kMaxThreads), simdgroups_(kMaxThreads / kSimdWidth) {
  void* arena = mmap(nullptr, kArenaBytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (arena == MAP_FAILED) throw std::bad_alloc();
  arena_ = static_cast<std::byte*>(arena);
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
    for (Thread& thread : threads_)
      if (thread.fiber) fibers_.give(std::exchange(thread.fiber, nullptr));
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
  if (size.x != size_.x || size.y != size_.y || size.z != size_.z)
    shape_threadgroup(dispatch, size);
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

// ---- The interface -----------------------------------------------------------------------------
void check_constants(const CompiledLibrary& library, std::span<const Constant> constants) {
  for (const Constant& value : constants) {
    const FunctionConstant* constant = find_constant(library, value);
    const char* type = type_of(value).name;
    if (constant && constant->type != type)
      throw std::invalid_argument("function constant " + constant->name + " (index " +
                                  std::to_string(value.index) + ") is of type " + constant->type +
                                  ", its value of type " + type);
  }
}

Size grid_of(Size threadgroups, Size group) {
  const auto threads = [](std::uint64_t n, std::uint32_t each) {
    if (n * each > std::numeric_limits<std::uint32_t>::max())
      throw std::invalid_argument("dispatch: more than 2^32 threads along an axis");
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
