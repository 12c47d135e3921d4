// The engine: executes a grid of GPU threads as fibers on one thread of the CPU, one threadgroup
// after the other, with simdgroups of 32 lanes, barriers and, in instrumented builds, exact checks
// of every memory access.
//
// A thread runs until it needs others. An operation of a simdgroup completes when all its lanes
// have stopped; the lanes that stopped at the same place in the code take part, as in Metal, where
// lanes that took another branch or have returned are inactive. Without instrumentation nothing
// guards memory: a wild pointer, or more private arrays than the stack's 256 KB, ends the process.
#pragma once

#include <memory>
#include <span>
#include <stdexcept>
#include <vector>

#include "metal/device.h"
#include "metal/simulator/compile.h"

namespace cermet::metal::simulator {

struct Binding {
  int slot;
  void* address;
  std::size_t bytes;
  bool writable;
  std::size_t before = 0;  // bytes before the address that belong to it too
};

struct Dispatch {
  std::shared_ptr<CompiledLibrary> library;
  const KernelInfo* kernel;
  std::vector<Constant> constants;
  std::vector<Binding> buffers;
  std::vector<std::size_t> threadgroup_bytes;  // by slot
  Size grid;                                   // in threads
  Size group;
  bool concurrent = false;  // no barrier stands between it and the dispatch before
};

struct Options {
  bool sanitize = false;  // check accesses (the library must be instrumented)
  bool count = false;     // count traffic (likewise)
  bool shuffle = false;   // run threads and threadgroups in a random order
  std::uint64_t seed = 0;
};

// What the sanitizer reports: a line for each finding, one for each place in the source.
class SanitizerError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// std::invalid_argument when a value is of another type than the library's function constant of its
// index. Function constants that get no value are zero, and undefined to the kernel.
void check_constants(const CompiledLibrary& library, std::span<const Constant> constants);

// The grid of so many whole threadgroups. std::invalid_argument where it passes 2^32 on an axis.
Size grid_of(Size threadgroups, Size group);

// Runs a dispatch to its end. Limits (threads, threadgroup memory, slots without a buffer) are
// always checked and raised as std::invalid_argument that names the kernel; findings, at most 20,
// as SanitizerError: a GPU thread whose access would be out of bounds is stopped before it. The
// counters are added to. One dispatch runs at a time; others wait.
void run(const Dispatch& dispatch, const Options& options, Counters& counters);

// These bytes hold nothing until a kernel writes them (declare_undefined), or hold something again
// whoever wrote it (declare_defined: freed or written by the CPU).
void declare_undefined(const void* data, std::size_t bytes);
void declare_defined(const void* data, std::size_t bytes);
// Forgets all declarations: for when kernels have run without being watched.
void forget_declarations();

}  // namespace cermet::metal::simulator
