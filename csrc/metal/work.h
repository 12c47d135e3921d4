// The work of one batch on one stream of the GPU, as the evaluator sees it.
#pragma once

#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "cermet/device.h"
#include "metal/backend.h"
#include "metal/library.h"

namespace cermet::metal {

// Dispatches are recorded, so that the kernels they need compile together, and then encoded in one
// command buffer. Between two that overlap in memory, one of them writing, stands a barrier; what
// does not overlap may run at once.
class Work final : public Commands {
 public:
  explicit Work(Stream stream);
  ~Work() override;  // waits
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;

  using Commands::groups;
  using Commands::threads;
  void threads(const Kernel& kernel, std::span<const Argument> arguments, Size grid,
               Size group) override;
  void groups(const Kernel& kernel, std::span<const Argument> arguments, Size groups,
              Size group) override;
  void add_work(std::uint64_t operations) override { cost_ += operations / kOperationsPerByte; }
  Tensor check(std::function<std::exception_ptr(const std::int64_t*)> error) override;
  Ref<Buffer> allocate(std::size_t bytes) override;
  Tensor temporary(Shape shape, Dtype dtype) override;

  // What is recorded from here on belongs to this step.
  void begin(std::size_t step);
  // Whether it holds the buffer for work in flight, and so counts as a reference to it.
  bool holds(const Buffer& buffer) const { return held_.contains(&buffer); }
  // Starts what has been recorded.
  void flush();
  // Starts and awaits everything. Gives the errors of the steps that failed, in their order.
  std::vector<std::pair<std::size_t, std::exception_ptr>> finish();

  // The point in time when all recorded so far has run, for the work of another stream.
  using Point = std::pair<std::shared_ptr<Event>, std::uint64_t>;
  Point point();
  void wait_for(const Point& point);

 private:
  // Memory is what costs time: an operation of a product counts as so many bytes less.
  static constexpr std::uint64_t kOperationsPerByte = 16;

  struct Range {
    const std::byte *begin, *end;
    bool overlaps(const Range& o) const { return begin < o.end && o.begin < end; }
  };
  struct Bound {
    Argument::Kind kind = Argument::Kind::buffer;
    Access access = Access::read;
    std::shared_ptr<Memory> memory;
    std::byte* data = nullptr;          // the element at index zero
    std::size_t offset = 0;             // its, in the memory
    std::size_t before = 0, bytes = 0;  // that the kernel may reach around it
    std::vector<std::byte> value;
    bool fresh = false;  // its bytes are undefined before
    Range range() const { return {data - before, data + bytes}; }
  };
  struct Record {
    Kernel kernel;
    std::vector<Bound> arguments;
    Size grid, group;
    bool groups;
    std::size_t step;
  };
  struct Unwritten {  // by a kernel that does not compile
    Range range;
    std::exception_ptr error;
  };
  struct Flight;  // a committed command buffer

  void record(const Kernel& kernel, std::span<const Argument> arguments, Size grid, Size group,
              bool groups);
  Bound bind(const Argument& argument);
  bool conflicts(const Record& record) const;
  void hold(const Ref<Buffer>& buffer);
  void compile_recorded();
  void declare_written(const Range& range);
  void encode(CommandBuffer& commands);

  const Stream stream_;
  std::size_t step_ = 0;
  std::uint64_t cost_ = 0;
  std::vector<Record> records_;
  std::vector<Range> read_, written_;  // since the last barrier
  std::unordered_map<const Buffer*, Ref<Buffer>> held_;
  std::multimap<std::size_t, Buffer*> by_capacity_;  // of held_, what may be used again
  std::unordered_set<const Buffer*> fresh_;          // allocated and not written yet
  std::vector<std::shared_ptr<Flight>> flights_;
  std::vector<Point> waits_;
  struct Check {
    std::size_t step;
    Ref<Buffer> words;
    std::function<std::exception_ptr(const std::int64_t*)> error;
  };
  std::vector<Check> checks_;
  std::vector<std::pair<std::size_t, std::exception_ptr>> errors_;
  std::vector<Unwritten> unwritten_;
};

// Barriers between dispatches that overlap in memory: on unless a test switches them off.
void set_hazard_tracking(bool on);

}  // namespace cermet::metal
