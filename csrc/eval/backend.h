// A backend: how a device computes the steps of a plan. This is all that evaluation knows of one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "cermet/device.h"
#include "plan/plan.h"

namespace cermet {

// Work that a queue was given: when it is done, and what went wrong.
class Ticket {
 public:
  virtual ~Ticket() = default;
  // Waits, also for what it depends on. Gives the error of the step, or null. Any thread may wait
  // once the queue has been told to submit. Throws Interrupted when the interrupt check says so.
  virtual std::exception_ptr wait() = 0;
};

// An array that a program reads or writes: its node, and strides over the program's domain.
struct BoundArray {
  Node* node;
  Strides strides;
};
// One run of a program: the numbers and the memory that the plan does not have.
struct ProgramRun {
  ProgramRun(const Program& program, Shape domain) : program(program), domain(std::move(domain)) {}

  const Program& program;
  Shape domain;
  SmallVector<std::uint64_t, 8> constants;  // their bits
  SmallVector<BoundArray, 8> inputs, outputs;
  bool overwrites = false;  // an output has the memory of an input

  // Elements of the axes [first, first + count).
  std::int64_t extent_of(int first, int count) const {
    std::int64_t n = 1;
    for (int i = first; i < first + count; ++i) n *= domain[i];
    return n;
  }
  std::int64_t outer_size() const { return extent_of(0, program.outer); }
  std::int64_t reduced_size() const { return extent_of(program.outer, program.reduced); }
  std::int64_t inner_size() const {
    return extent_of(program.outer + program.reduced, program.inner());
  }
  std::int64_t size() const { return extent_of(0, static_cast<int>(domain.size())); }
};

// A product that has an epilogue: its node, of which nobody asks for the value, and its operands.
struct ProductRun {
  const Node& node;
  SmallVector<const Node*, 4> inputs;
};

// A program with the numbers of its arrays. Those without a value count as row-major.
ProgramRun bind(const Program& program, Node* const* nodes, const std::uint64_t* constants);

// Work of one stream on its way to a device, in order. A queue belongs to one batch.
class Queue {
 public:
  virtual ~Queue() = default;
  // Memory for a result. It may be memory that only earlier work of the queue still uses.
  virtual Ref<Buffer> allocate(std::size_t bytes) = 0;
  // How many references to the buffer work under way on the stream holds, of other batches too.
  virtual std::uint32_t holds(const Buffer&) const { return 0; }
  // What follows in this queue waits for the work of another.
  virtual void wait_for(Ticket& ticket) = 0;
  // Starts all that it was given: nothing more comes. It does not wait.
  virtual void submit() {}

  // Each of these runs or encodes a step and never waits. Inputs have values, or tickets of this
  // queue; outputs have memory. Nodes are the caller's: what is done later keeps their buffers.
  // Null: it has run.
  virtual std::shared_ptr<Ticket> run(const Kernel& kernel, const ProgramRun& run) = 0;
  // The same of a program that is the epilogue of products: its first inputs are tiles of their
  // results, each rounded to its type. Only what Limits::epilogue has agreed to is given.
  virtual std::shared_ptr<Ticket> run_products(std::span<const ProductRun> products,
                                               const Kernel& epilogue, const ProgramRun& run);
  // A primitive that is neither a view, elementwise, a reduction nor a slice update. `inputs` stand
  // for the node's, constants among them having values. The output is row-major; a scatter's may
  // have the memory and layout of the first input: the copy is then not needed. With
  // Limits::regions that of a concatenation may be a region of memory, and inputs may lie in their
  // places already. A node with several results has no memory of its own: they go to `outputs`.
  virtual std::shared_ptr<Ticket> run(Node& node, std::span<Node* const> inputs) = 0;
  // `to`, which has memory and strides, becomes a copy of `from`'s elements.
  virtual std::shared_ptr<Ticket> copy(const Node& from, const Node& to) = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const = 0;
  // Whether it works on the calling thread, so that its inputs must have their values.
  virtual bool is_host() const { return false; }
  virtual const Limits& limits() const = 0;
  // Facts for device_info.
  virtual std::map<std::string, std::variant<std::string, std::int64_t>> info() const = 0;
  virtual std::unique_ptr<Queue> queue(Stream stream) = 0;

  // Whether it computes a primitive, a program, or copies elements of a type. What it does not, the
  // CPU's backend does, on the same memory: the CPU can address every backend's.
  virtual bool takes(const Node& primitive) const = 0;
  virtual bool takes(const ProgramRun& run) const = 0;
  virtual bool takes(Dtype copied) const = 0;
  virtual LayoutClass classify(const ProgramRun& run) const = 0;
  // A kernel for all runs of the class. It may replace its code later.
  virtual std::shared_ptr<const Kernel> prepare(const ProgramRun& run) = 0;

  // How it computes a program, as text for people; none where there is nothing to show.
  virtual std::string listing(const ProgramRun&) const { return {}; }
  // Adds the functions that it has made of programs.
  virtual void count(PlanCounts&) const {}

  // Bytes the system is asked to keep resident. Returns the limit before; std::invalid_argument
  // above what the device has.
  virtual std::size_t set_wired_limit(std::size_t) { return 0; }
  // Records the device's work. std::runtime_error where it cannot.
  virtual void start_capture(const std::string& path);
  virtual void stop_capture();
};

// Makes a backend known as a device. std::invalid_argument when the device has one.
void register_backend(Device device, std::unique_ptr<Backend> backend);
// The backends of this build, the CPU's first (backends.cpp). They are made at first use.
std::vector<std::pair<Device, std::unique_ptr<Backend>>> make_backends();
// Null where there is none.
Backend* find_backend(Device device);
// std::invalid_argument where there is none.
Backend& backend_of(Device device);
// The CPU's.
Backend& host_backend();

}  // namespace cermet
