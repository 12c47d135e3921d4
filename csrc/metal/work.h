// The work of one batch on one stream of the GPU: the queue that evaluation sees.
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
class Work final : public Commands, public cermet::Queue {
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

  bool holds(const Buffer& buffer) const override { return held_.contains(&buffer); }
  void wait_for(Ticket& ticket) override;
  std::shared_ptr<Ticket> run(const cermet::Kernel& kernel, const ProgramRun& run) override;
  std::shared_ptr<Ticket> run(Node& node, std::span<Node* const> inputs) override;
  std::shared_ptr<Ticket> copy(const Node& from, const Node& to) override;

  // What is recorded from here on is a step of its own.
  std::shared_ptr<Ticket> begin();
  // Starts what has been recorded.
  void flush();
  // Starts and awaits everything.
  void finish();

 private:
  // A point in time, when all that a stream was given has run.
  using Point = std::pair<std::shared_ptr<Event>, std::uint64_t>;
  Point point();

  // Memory is what costs time: an operation of a product counts as so many bytes less.
  static constexpr std::uint64_t kOperationsPerByte = 16;

  // A step, with its first error once it has run.
  struct Step;
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
    std::shared_ptr<Step> step;
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
  Buffer* take_free(std::size_t bytes);
  void compile_recorded();
  void declare_written(const Range& range);
  void encode(CommandBuffer& commands);

  const Stream stream_;
  std::vector<std::shared_ptr<Step>> steps_;  // not finished; the last is being recorded
  std::uint64_t cost_ = 0;
  std::vector<Record> records_;
  std::vector<Range> read_, written_;  // since the last barrier
  std::unordered_map<const Buffer*, Ref<Buffer>> held_;
  // Of held_, by capacity: what only earlier work uses, and what may come to that, the last one
  // that was given last.
  std::multimap<std::size_t, Buffer*> free_;
  std::map<std::size_t, std::vector<Buffer*>> used_;
  std::size_t in_use_ = 0, misses_ = 0;      // of used_, and since all of it was looked through
  std::unordered_set<const Buffer*> fresh_;  // allocated and not written yet
  std::vector<std::shared_ptr<Flight>> flights_;
  std::vector<Point> waits_;
  struct Check {
    std::shared_ptr<Step> step;
    Ref<Buffer> words;
    std::function<std::exception_ptr(const std::int64_t*)> error;
  };
  std::vector<Check> checks_;
  std::vector<Unwritten> unwritten_;
};

// Barriers between dispatches that overlap in memory: on unless a test switches them off.
void set_hazard_tracking(bool on);

}  // namespace cermet::metal
