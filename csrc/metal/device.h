// The device interface: all that the Metal backend asks of a GPU.
//
// Two implementations stand behind it: apple/ over Metal.framework, and simulator/, which runs the
// same Metal source on this machine's CPU. Everything above it is the same code on both.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace cermet::metal {

// The limits that hold on every device this backend runs on.
inline constexpr int kSimdWidth = 32;
inline constexpr int kMaxThreads = 1024;  // a threadgroup; a pipeline may allow less
inline constexpr std::size_t kThreadgroupBytes = 32768;
inline constexpr int kMaxBuffers = 31;
inline constexpr std::size_t kMaxBytesArgument = 4096;  // set_bytes takes fewer

// A count along three axes: of threads or of threadgroups.
struct Size {
  std::uint32_t x = 1, y = 1, z = 1;
  std::uint64_t product() const { return std::uint64_t{x} * y * z; }
};

// The value of a function constant, by its index.
struct Constant {
  enum class Type : std::uint8_t { boolean, int32, uint32, float32 };
  int index;
  Type type;
  std::uint32_t bits;  // of a boolean: 0 or 1
};

// Source that does not compile. The message has a line "file:line:column: error: ..." for each
// diagnostic.
class CompileError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// What the GPU or its driver says went wrong while it ran a command buffer.
class DeviceError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Memory of this process that the GPU can address. It does not own the bytes.
class Memory {
 public:
  virtual ~Memory() = default;
};

class Pipeline {
 public:
  virtual ~Pipeline() = default;
  // The most threads a threadgroup of this kernel may have.
  virtual int max_threads() const = 0;
};

class Library {
 public:
  virtual ~Library() = default;
  // The kernel of that (host) name. std::invalid_argument when there is none.
  virtual std::shared_ptr<Pipeline> pipeline(std::string_view name,
                                             std::span<const Constant> constants) = 0;
};

// A point in time that queues and the CPU can wait for: a value that only grows.
class Event {
 public:
  virtual ~Event() = default;
  virtual std::uint64_t value() const = 0;
  virtual void signal(std::uint64_t value) = 0;  // by the CPU
  // False when the timeout passed first.
  virtual bool wait(std::uint64_t value, std::uint32_t milliseconds) = 0;
};

enum class Access : std::uint8_t { read, write, read_write };

// How a command buffer ended.
struct Completion {
  std::exception_ptr error = nullptr;                  // null: everything has run
  std::optional<std::size_t> dispatch = std::nullopt;  // whose fault it was, where that is known
  bool aborted = false;  // by the system, as it ran too long or for others' sake
  double seconds = 0;    // the GPU's time; 0 where it is not known
};

// One command buffer with one concurrent encoder: dispatches may overlap unless a barrier stands
// between them. Memory and pipelines given to it must live until it has completed.
class CommandBuffer {
 public:
  virtual ~CommandBuffer() = default;
  virtual void set_pipeline(const Pipeline& pipeline) = 0;
  // Binds `bytes` bytes from `offset` of `memory`. The simulator checks accesses against exactly
  // these.
  virtual void set_buffer(int slot, Memory& memory, std::size_t offset, std::size_t bytes,
                          Access access) = 0;
  // Kernels may also access these bytes before the offset (negative strides); a sanitizer's hint.
  virtual void allow_before(int /*slot*/, std::size_t /*bytes*/) {}
  virtual void set_bytes(int slot, const void* data, std::size_t size) = 0;
  virtual void set_threadgroup_memory(int slot, std::size_t bytes) = 0;
  virtual void dispatch_threads(Size grid, Size group) = 0;
  virtual void dispatch_threadgroups(Size groups, Size group) = 0;
  // What follows waits for all dispatches before, and sees their writes.
  virtual void barrier() = 0;
  virtual void wait(Event& event, std::uint64_t value) = 0;
  virtual void signal(Event& event, std::uint64_t value) = 0;
  // The content of these bytes is undefined until a kernel writes them (a sanitizer's hint).
  virtual void declare_undefined(Memory&, std::size_t /*offset*/, std::size_t /*bytes*/) {}
  // Starts the work. `completed` runs on some thread, which it may neither keep nor throw in. After
  // an error nothing is known of what has run; signals may have been sent or not.
  virtual void commit(std::function<void(const Completion&)> completed) = 0;
};

// Command buffers of a queue run in the order of their commits.
class Queue {
 public:
  virtual ~Queue() = default;
  virtual std::unique_ptr<CommandBuffer> command_buffer() = 0;
};

// What a device ran and moved since it was last reset; only a simulator counts.
struct Counters {
  std::uint64_t dispatches = 0, threadgroups = 0, threads = 0;
  // Bytes that kernels read and wrote. These need the sanitizer's instrumented build.
  std::uint64_t device_read = 0, device_written = 0;
  std::uint64_t constant_read = 0;
  std::uint64_t threadgroup_read = 0, threadgroup_written = 0;
  std::uint64_t atomics = 0;
  std::uint64_t simdgroup_macs = 0;   // multiply-accumulates of simdgroup matrices
  std::uint64_t simd_operations = 0;  // shuffles, votes and reductions of a simdgroup
  std::uint64_t threadgroup_barriers = 0, simdgroup_barriers = 0;
  std::uint64_t max_threadgroup_bytes = 0, max_threads = 0;  // of one threadgroup
  // Of the device: command buffers that were committed and that have ended, and how often one was
  // committed when none was there (but for the first).
  std::uint64_t committed = 0, command_buffers = 0, idle = 0;
};

class Device {
 public:
  virtual ~Device() = default;
  virtual std::string name() const = 0;
  virtual std::string architecture() const = 0;  // "applegpu_g13s", "simulator"
  virtual bool simulated() const = 0;
  virtual std::size_t memory_size() const = 0;  // bytes it should stay under in all
  virtual std::size_t max_buffer_size() const = 0;
  // Makes [data, data + bytes) addressable without copying. Pages that hold its ends are shared.
  virtual std::shared_ptr<Memory> wrap(void* data, std::size_t bytes) = 0;
  // Asks the system to keep this memory where the GPU finds it at once, until it is told otherwise.
  virtual void set_resident(Memory&, bool /*resident*/) {}
  // The CPU has freed or written these bytes: they are no longer undefined (a sanitizer's hint).
  virtual void declare_defined(const void* /*data*/, std::size_t /*bytes*/) {}
  // Compiles Metal source with safe math. `label` names it in errors where the source has no #line.
  virtual std::shared_ptr<Library> library(const std::string& source, const std::string& label) = 0;
  virtual std::unique_ptr<Queue> queue() = 0;
  virtual std::shared_ptr<Event> event() = 0;
  // std::runtime_error where the device cannot capture.
  virtual void start_capture(const std::string& path) = 0;
  virtual void stop_capture() = 0;
  virtual Counters counters() const { return {}; }
  virtual void reset_counters() {}
};

// The GPU of this process, made at first use; null where there is none. On Linux there is one when
// the environment variable CERMET_METAL is "simulator".
Device* device();

}  // namespace cermet::metal
