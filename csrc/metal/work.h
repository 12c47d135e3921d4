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
#include "metal/flight.h"

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

  std::uint32_t holds(const Buffer& buffer) const override;
  void wait_for(Ticket& ticket) override;
  void submit() override;
  std::shared_ptr<Ticket> run(const cermet::Kernel& kernel, const ProgramRun& run) override;
  std::shared_ptr<Ticket> run(Node& node, std::span<Node* const> inputs) override;
  std::shared_ptr<Ticket> copy(const Node& from, const Node& to) override;

  // What is recorded from here on is a step of its own.
  std::shared_ptr<Ticket> begin();
  // Starts what has been recorded; an error is the steps'.
  void flush();
  // Starts and awaits everything.
  void finish();

 private:
  // Memory is what costs time: an operation of a product counts as so many bytes less.
  static constexpr std::uint64_t kOperationsPerByte = 16;

  // A step of what `record` records. Nothing stays of it when that throws.
  template <class F>
  std::shared_ptr<Ticket> step(F record);
  void record(const Kernel& kernel, std::span<const Argument> arguments, Size grid, Size group,
              bool groups);
  Bound bind(const Argument& argument);
  Lane& lane();
  void hold(const Ref<Buffer>& buffer);
  Buffer& copy_of(const Buffer& borrowed);
  Buffer* take_free(std::size_t bytes);
  void compile_recorded();
  void let_go();

  const Stream stream_;
  Lane* lane_ = nullptr;  // from the first dispatch on: a forked child may do all else
  std::vector<std::shared_ptr<Step>> steps_;  // not finished; the last is being recorded
  std::uint64_t cost_ = 0;
  std::vector<Record> records_;
  std::vector<std::shared_ptr<Flight>> flights_;
  std::vector<Point> waits_;
  std::unordered_map<const Buffer*, Ref<Buffer>> held_;
  std::unordered_map<const Buffer*, Ref<Buffer>> copies_;  // of borrowed memory that has no map
  // Of held_, by capacity: what only earlier work uses, and what may come to that, the last one
  // that was given last.
  std::multimap<std::size_t, Buffer*> free_;
  std::map<std::size_t, std::vector<Buffer*>> used_;
  std::size_t in_use_ = 0, misses_ = 0;      // of used_, and since all of it was looked through
  std::unordered_set<const Buffer*> fresh_;  // allocated and not written yet
  // What has been recorded reads them from earlier work. It could not be run again if it wrote over
  // them, too.
  std::unordered_set<const Buffer*> read_, written_;
  std::unordered_set<const Buffer*> words_;  // of checks
  Unwritten unwritten_;
};

}  // namespace cermet::metal
