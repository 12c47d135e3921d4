// The simulator behind the device interface. Each queue has a thread that executes its command
// buffers in the order of their commits; the engine runs one dispatch at a time.
#include "metal/device.h"

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <numeric>
#include <optional>
#include <random>
#include <thread>
#include <utility>
#include <variant>

#include "eval/memory.h"
#include "metal/simulator/faults.h"
#include "metal/simulator/simulator.h"

namespace cermet::metal::simulator {
namespace {

constexpr std::size_t kSanitizerGap = 1024;  // bytes between buffers, so that overruns are seen

// ---- Options -----------------------------------------------------------------------------------
struct SharedOptions {
  std::mutex mutex;
  Options value;

  SharedOptions() {
    const auto set = [](const char* name) {
      const char* text = std::getenv(name);
      return text && *text && std::string_view(text) != "0";
    };
    value.sanitize = set("CERMET_METAL_SANITIZE");
    value.count = set("CERMET_METAL_COUNT");
    if (const char* seed = std::getenv("CERMET_METAL_SHUFFLE"); seed && *seed) {
      value.shuffle = true;
      value.seed = std::strtoull(seed, nullptr, 10);
    }
  }
};

SharedOptions& shared_options() {
  static auto* const options = new SharedOptions;  // for as long as a queue's thread may run
  return *options;
}

// ---- What command buffers refer to -------------------------------------------------------------
class SimulatedMemory final : public Memory {
 public:
  SimulatedMemory(void* data, std::size_t bytes)
      : data_(static_cast<std::byte*>(data)), bytes_(bytes) {
    add_resource(bytes);
  }
  ~SimulatedMemory() override {
    remove_resource(bytes_);
    if (options().sanitize) declare_defined(data_, bytes_);
  }
  std::byte* at(std::size_t offset, std::size_t bytes) const {
    if (offset > bytes_ || bytes > bytes_ - offset)
      throw std::invalid_argument("bytes " + std::to_string(offset) + " to " +
                                  std::to_string(offset + bytes) + " of a memory of " +
                                  std::to_string(bytes_) + " bytes");
    return data_ + offset;
  }

 private:
  std::byte* data_;
  std::size_t bytes_;
};

// Source, compiled once for each way of running it.
class Source {
 public:
  Source(std::string source, std::string label)
      : source_(std::move(source)), label_(std::move(label)) {}
  std::shared_ptr<CompiledLibrary> compiled(const Options& options) {
    const bool instrumented = options.sanitize || options.count;
    const std::lock_guard lock(mutex_);
    auto& library = compiled_[instrumented];
    if (!library) library = compile(source_, label_, instrumented);
    return library;
  }

 private:
  std::string source_, label_;
  std::mutex mutex_;
  std::array<std::shared_ptr<CompiledLibrary>, 2> compiled_;
};

const KernelInfo& find_kernel(const CompiledLibrary& library, std::string_view name) {
  for (const KernelInfo& kernel : library.kernels)
    if (kernel.name == name) return kernel;
  throw std::invalid_argument("the library has no kernel " + std::string(name));
}

class SimulatedPipeline final : public Pipeline {
 public:
  SimulatedPipeline(std::shared_ptr<Source> source, std::string_view name,
                    std::span<const Constant> constants)
      : source_(std::move(source)), name_(name), constants_(constants.begin(), constants.end()) {
    const auto library = source_->compiled(options());
    max_threads_ = find_kernel(*library, name_).max_threads;
    check_constants(*library, constants_);
  }
  int max_threads() const override { return max_threads_; }
  std::string_view name() const { return name_; }
  void load(Dispatch& dispatch, const Options& options) const {
    dispatch.library = source_->compiled(options);
    dispatch.kernel = &find_kernel(*dispatch.library, name_);
    dispatch.constants = constants_;
  }

 private:
  std::shared_ptr<Source> source_;
  std::string name_;
  std::vector<Constant> constants_;
  int max_threads_;
};

class SimulatedLibrary final : public Library {
 public:
  explicit SimulatedLibrary(std::shared_ptr<Source> source) : source_(std::move(source)) {}
  std::shared_ptr<Pipeline> pipeline(std::string_view name,
                                     std::span<const Constant> constants) override {
    return std::make_shared<SimulatedPipeline>(source_, name, constants);
  }

 private:
  std::shared_ptr<Source> source_;
};

class SimulatedEvent final : public Event {
 public:
  std::uint64_t value() const override {
    const std::lock_guard lock(mutex_);
    return value_;
  }
  void signal(std::uint64_t value) override {
    const std::lock_guard lock(mutex_);
    value_ = std::max(value_, value);
    changed_.notify_all();
  }
  bool wait(std::uint64_t value, std::uint32_t milliseconds) override {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::milliseconds(milliseconds),
                             [&] { return value_ >= value; });
  }
  void wait(std::uint64_t value) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return value_ >= value; });
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t value_ = 0;
};

// ---- Command buffers ---------------------------------------------------------------------------
struct SharedCounters {
  std::mutex mutex;
  Counters value;
  // Command buffers committed and not ended, under a mutex of their own: a dispatch holds the
  // other.
  std::mutex queue_mutex;
  std::uint64_t outstanding = 0;
  std::uint64_t committed = 0, ended = 0, idle = 0;  // since they were set to zero

  void commit() {
    const std::lock_guard lock(queue_mutex);
    if (outstanding++ == 0 && committed > 0) ++idle;
    ++committed;
  }
  void end() {
    const std::lock_guard lock(queue_mutex);
    --outstanding;
    ++ended;
  }
};

struct UndefinedBytes {
  const void* data;
  std::size_t bytes;
};
struct EncodedDispatch {
  const SimulatedPipeline* pipeline;
  Dispatch dispatch;                      // without the library
  std::vector<UndefinedBytes> undefined;  // declared before it
};
struct EncodedBarrier {};
struct EncodedWait {
  SimulatedEvent* event;
  std::uint64_t value;
};
struct EncodedSignal {
  SimulatedEvent* event;
  std::uint64_t value;
};
using Command = std::variant<EncodedDispatch, EncodedBarrier, EncodedWait, EncodedSignal>;

// What was encoded, on its way through a queue.
struct Work {
  std::vector<Command> commands;
  std::deque<std::vector<std::byte>> bytes;  // of set_bytes
  std::function<void(const Completion&)> completed;

  void execute(SharedCounters& counters);
};

// Runs dispatches that no barrier orders. `done` counts them.
void run_group(std::span<EncodedDispatch*> group, SharedCounters& counters, std::size_t& done) {
  Options options = simulator::options();
  const std::lock_guard lock(counters.mutex);
  std::vector<std::size_t> order(group.size());
  std::iota(order.begin(), order.end(), 0);
  const std::size_t before = done;
  if (options.shuffle) {
    std::seed_seq seeds{options.seed, counters.value.dispatches};  // another order each time
    std::mt19937_64 random(seeds);
    std::shuffle(order.begin(), order.end(), random);
    options.seed = random();
  }
  bool concurrent = false;
  for (const std::size_t i : order) {
    EncodedDispatch* const encoded = group[i];
    done = before + i;  // whose error it is
    if (options.sanitize)
      for (const UndefinedBytes& u : encoded->undefined) declare_undefined(u.data, u.bytes);
    encoded->dispatch.concurrent = std::exchange(concurrent, true);
    encoded->pipeline->load(encoded->dispatch, options);
    run(encoded->dispatch, options, counters.value);
  }
  done = before + group.size();
}

// After an error the rest is left out, and events that it would signal wait for the CPU.
void Work::execute(SharedCounters& counters) {
  Completion end;
  std::vector<std::string_view> kernels;
  std::uint64_t threads = 0;
  for (const Command& command : commands)
    if (const auto* d = std::get_if<EncodedDispatch>(&command)) {
      kernels.push_back(d->pipeline->name());
      threads += d->dispatch.grid.product();
    }
  while (is_held()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  const std::optional<std::size_t> fails = next_failure(kernels, threads);
  if (fails) end = failure();
  end.seconds = simulator::faults().seconds * static_cast<double>(threads);
  std::size_t encoded = 0, done = 0;
  std::vector<EncodedDispatch*> group;
  bool stopped = false;
  const auto flush = [&] {
    try {
      if (!stopped) run_group(group, counters, done);
    } catch (...) {
      stopped = true;
      end = {std::current_exception(), done};
    }
    group.clear();
  };
  for (Command& command : commands) {
    if (auto* dispatch = std::get_if<EncodedDispatch>(&command)) {
      if (!fails || encoded++ < *fails) group.push_back(dispatch);
      continue;
    }
    flush();
    if (const auto* wait = std::get_if<EncodedWait>(&command)) wait->event->wait(wait->value);
    const auto* signal = std::get_if<EncodedSignal>(&command);
    if (signal && (!end.error || simulator::faults().signals)) signal->event->signal(signal->value);
  }
  flush();
  counters.end();
  completed(end);
}

class SimulatedQueue;

class SimulatedCommandBuffer final : public CommandBuffer {
 public:
  explicit SimulatedCommandBuffer(SimulatedQueue& queue) : queue_(queue) {}

  void set_pipeline(const Pipeline& pipeline) override {
    pipeline_ = static_cast<const SimulatedPipeline*>(&pipeline);
  }
  void set_buffer(int slot, Memory& memory, std::size_t offset, std::size_t bytes,
                  Access access) override {
    bind({slot, static_cast<SimulatedMemory&>(memory).at(offset, bytes), bytes,
          access != Access::read});
  }
  void allow_before(int slot, std::size_t bytes) override { bindings_[slot]->before = bytes; }
  void set_bytes(int slot, const void* data, std::size_t size) override {
    if (size >= kMaxBytesArgument) {
      throw std::invalid_argument("set_bytes: " + std::to_string(size) + " bytes; fewer than " +
                                  std::to_string(kMaxBytesArgument) + " can be passed");
    }
    const auto* first = static_cast<const std::byte*>(data);
    auto& copy = work_.bytes.emplace_back(first, first + size);
    bind({slot, copy.data(), size, false});
  }
  void set_threadgroup_memory(int slot, std::size_t bytes) override {
    check_slot(slot);
    if (threadgroup_bytes_.size() <= static_cast<std::size_t>(slot))
      threadgroup_bytes_.resize(slot + 1);
    threadgroup_bytes_[slot] = bytes;
  }
  void dispatch_threads(Size grid, Size group) override {
    if (!pipeline_) throw std::invalid_argument("dispatch: no pipeline is set");
    Dispatch dispatch{};
    for (const auto& binding : bindings_)
      if (binding) dispatch.buffers.push_back(*binding);
    dispatch.threadgroup_bytes = threadgroup_bytes_;
    dispatch.grid = grid;
    dispatch.group = group;
    work_.commands.emplace_back(
        EncodedDispatch{pipeline_, std::move(dispatch), std::exchange(undefined_, {})});
  }
  void dispatch_threadgroups(Size groups, Size group) override {
    dispatch_threads(grid_of(groups, group), group);
  }
  void barrier() override { work_.commands.emplace_back(EncodedBarrier{}); }
  void wait(Event& event, std::uint64_t value) override {
    work_.commands.emplace_back(EncodedWait{static_cast<SimulatedEvent*>(&event), value});
  }
  void signal(Event& event, std::uint64_t value) override {
    work_.commands.emplace_back(EncodedSignal{static_cast<SimulatedEvent*>(&event), value});
  }
  void declare_undefined(Memory& memory, std::size_t offset, std::size_t bytes) override {
    undefined_.push_back({static_cast<SimulatedMemory&>(memory).at(offset, bytes), bytes});
  }
  void commit(std::function<void(const Completion&)> completed) override;

 private:
  static void check_slot(int slot) {
    if (slot < 0 || slot >= kMaxBuffers)
      throw std::invalid_argument("slot " + std::to_string(slot) + " is not one of 0 to " +
                                  std::to_string(kMaxBuffers - 1));
  }
  void bind(const Binding& binding) {
    check_slot(binding.slot);
    bindings_[binding.slot] = binding;
  }

  SimulatedQueue& queue_;
  const SimulatedPipeline* pipeline_ = nullptr;
  std::array<std::optional<Binding>, kMaxBuffers> bindings_;
  std::vector<std::size_t> threadgroup_bytes_;
  std::vector<UndefinedBytes> undefined_;
  Work work_;
};

class SimulatedQueue final : public Queue {
 public:
  explicit SimulatedQueue(SharedCounters& counters) : counters_(counters) {}
  // Waits for what was committed.
  ~SimulatedQueue() override {
    {
      const std::lock_guard lock(mutex_);
      closed_ = true;
    }
    changed_.notify_one();
    if (thread_.joinable()) thread_.join();
  }
  std::unique_ptr<CommandBuffer> command_buffer() override {
    return std::make_unique<SimulatedCommandBuffer>(*this);
  }
  // The thread starts with the first work, so that a process may fork before.
  void push(Work work) {
    const std::lock_guard lock(mutex_);
    pending_.push_back(std::move(work));
    counters_.commit();
    if (!thread_.joinable()) thread_ = std::thread([this] { serve(); });
    changed_.notify_one();
  }

 private:
  void serve() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [&] { return closed_ || !pending_.empty(); });
      if (pending_.empty()) return;
      {
        Work work = std::move(pending_.front());
        pending_.pop_front();
        lock.unlock();
        work.execute(counters_);
      }
      lock.lock();
    }
  }

  SharedCounters& counters_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Work> pending_;
  bool closed_ = false;
  std::thread thread_;
};

void SimulatedCommandBuffer::commit(std::function<void(const Completion&)> completed) {
  work_.completed = std::move(completed);
  queue_.push(std::move(work_));
}

// ---- The device --------------------------------------------------------------------------------
class SimulatedDevice final : public Device {
 public:
  std::string name() const override { return "Cermet simulator"; }
  std::string architecture() const override { return "simulator"; }
  bool simulated() const override { return true; }
  std::size_t memory_size() const override {
    return std::min(system_memory(), simulator::faults().working_set);
  }
  std::size_t max_buffer_size() const override {
    return std::min(memory_size(), simulator::faults().buffer);
  }
  std::shared_ptr<Memory> wrap(void* data, std::size_t bytes) override {
    return std::make_shared<SimulatedMemory>(data, bytes);
  }
  void declare_defined(const void* data, std::size_t bytes) override {
    if (options().sanitize) simulator::declare_defined(data, bytes);
  }
  std::shared_ptr<Library> library(const std::string& source, const std::string& label) override {
    auto shared = std::make_shared<Source>(source, label);
    shared->compiled(options());
    return std::make_shared<SimulatedLibrary>(std::move(shared));
  }
  std::unique_ptr<Queue> queue() override { return std::make_unique<SimulatedQueue>(*counters_); }
  std::shared_ptr<Event> event() override { return std::make_shared<SimulatedEvent>(); }
  void start_capture(const std::string&) override {
    throw std::runtime_error("the simulator cannot capture");
  }
  void stop_capture() override { throw std::runtime_error("the simulator cannot capture"); }
  Counters counters() const override {
    const std::scoped_lock lock(counters_->mutex, counters_->queue_mutex);
    Counters all = counters_->value;
    all.committed = counters_->committed;
    all.command_buffers = counters_->ended;
    all.idle = counters_->idle;
    return all;
  }
  void reset_counters() override {
    const std::scoped_lock lock(counters_->mutex, counters_->queue_mutex);
    counters_->value = {};
    counters_->committed = counters_->ended = counters_->idle = 0;
  }

 private:
  std::unique_ptr<SharedCounters> counters_ = std::make_unique<SharedCounters>();
};

}  // namespace

Options options() {
  SharedOptions& shared = shared_options();
  const std::lock_guard lock(shared.mutex);
  return shared.value;
}

void set_options(const Options& options) {
  SharedOptions& shared = shared_options();
  const std::lock_guard lock(shared.mutex);
  if (options.sanitize && !shared.value.sanitize) forget_declarations();
  shared.value = options;
  set_allocation_gap(options.sanitize ? kSanitizerGap : 0);
}

std::unique_ptr<Device> make_device() {
  set_options(options());  // from the environment
  return std::make_unique<SimulatedDevice>();
}

}  // namespace cermet::metal::simulator
