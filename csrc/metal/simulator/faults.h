// What the simulated device can be told to do wrong: limits as a GPU has them, and faults of which
// long-running programs on GPUs die.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "metal/device.h"

namespace cermet::metal::simulator {

struct Faults {
  static constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();
  enum class Kind : std::uint8_t { timeout, interactivity, memory, page };

  // Command buffers, counted from when the faults are set, that fail: `count` of them from this one
  // on, each after so many dispatches.
  std::uint64_t command_buffer = kNever, count = 1, dispatch = 0;
  Kind kind = Kind::timeout;
  std::string kernel;              // those fail, too, that run a kernel with this in its name
  std::uint64_t longest = kNever;  // and those with more threads in all
  bool signals = false;            // what failed signals its events all the same
  bool hold = false;               // command buffers wait until this is set back
  double seconds = 0;              // that a thread is said to take
  // Limits: mapped memory (in buffers, and in bytes in all) and the longest buffer.
  std::uint64_t resources = kNever;
  std::size_t working_set = std::numeric_limits<std::size_t>::max();
  std::size_t buffer = std::numeric_limits<std::size_t>::max();
};

// Those in force. Setting them counts command buffers anew.
Faults faults();
void set_faults(const Faults& faults);
bool is_held();

// The next command buffer, which runs these kernels with so many threads in all: after how many
// dispatches it fails, if it does.
std::optional<std::size_t> next_failure(std::span<const std::string_view> kernels,
                                        std::uint64_t threads);
// How it ends.
Completion failure();

// A buffer more or less. Throws OutOfMemory where the limits are passed.
void add_resource(std::size_t bytes);
void remove_resource(std::size_t bytes);

}  // namespace cermet::metal::simulator
