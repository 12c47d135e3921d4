// The state of faults and limits.
#include "metal/simulator/faults.h"

#include <atomic>
#include <mutex>

#include "cermet/memory.h"

namespace cermet::metal::simulator {
namespace {

struct State {
  std::mutex mutex;
  Faults faults;
  std::uint64_t command_buffers = 0;
  std::uint64_t resources = 0;
  std::size_t bytes = 0;
  std::atomic<bool> hold{false};
};
State& state() {
  static auto* const s = new State;  // for as long as a queue's thread may run
  return *s;
}

}  // namespace

Faults faults() {
  State& s = state();
  const std::scoped_lock lock(s.mutex);
  return s.faults;
}

void set_faults(const Faults& faults) {
  State& s = state();
  const std::scoped_lock lock(s.mutex);
  s.faults = faults;
  s.command_buffers = 0;
  s.hold = faults.hold;
}

bool is_held() { return state().hold; }

std::optional<std::size_t> next_failure(std::span<const std::string_view> kernels,
                                        std::uint64_t threads) {
  State& s = state();
  const std::scoped_lock lock(s.mutex);
  const Faults& f = s.faults;
  const std::uint64_t number = s.command_buffers++;
  if (number >= f.command_buffer && number - f.command_buffer < f.count) return f.dispatch;
  if (threads > f.longest) return f.dispatch;
  for (std::size_t i = 0; !f.kernel.empty() && i < kernels.size(); ++i)
    if (kernels[i].find(f.kernel) != std::string_view::npos) return i;
  return std::nullopt;
}

Completion failure() {
  Completion c;
  switch (faults().kind) {
    case Faults::Kind::timeout:
      c.error = std::make_exception_ptr(DeviceError("the GPU stopped: time-out (simulated)"));
      c.aborted = true;
      break;
    case Faults::Kind::interactivity:
      c.error = std::make_exception_ptr(
          DeviceError("the GPU stopped: impacting interactivity (simulated)"));
      c.aborted = true;
      break;
    case Faults::Kind::memory:
      c.error = std::make_exception_ptr(OutOfMemory("out of memory on the GPU (simulated)"));
      break;
    case Faults::Kind::page:
      c.error = std::make_exception_ptr(DeviceError("the GPU stopped: page fault (simulated)"));
      break;
  }
  return c;
}

void add_resource(std::size_t bytes) {
  State& s = state();
  const std::scoped_lock lock(s.mutex);
  const auto refuse = [&](const std::string& why) {
    throw OutOfMemory("out of memory on the GPU: " + std::to_string(bytes) + " bytes asked for, " +
                      why);
  };
  if (bytes > s.faults.buffer) refuse("a buffer has at most " + std::to_string(s.faults.buffer));
  if (s.resources >= s.faults.resources)
    refuse("there are " + std::to_string(s.resources) + " buffers, the most there can be");
  if (bytes > s.faults.working_set || s.bytes > s.faults.working_set - bytes)
    refuse(std::to_string(s.bytes) + " in use, the working set is " +
           std::to_string(s.faults.working_set));
  ++s.resources;
  s.bytes += bytes;
}

void remove_resource(std::size_t bytes) {
  State& s = state();
  const std::scoped_lock lock(s.mutex);
  --s.resources;
  s.bytes -= bytes;
}

}  // namespace cermet::metal::simulator
