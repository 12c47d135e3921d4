// Work on its way through a GPU: recorded dispatches, the command buffers that they were committed
// in, and what happens when one fails.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "metal/backend.h"
#include "metal/library.h"

namespace cermet::metal {

class Work;
class Step;
struct Flight;

// A point in time, when all that a stream was given has run.
struct Point {
  std::shared_ptr<Event> event;
  std::uint64_t value;
};

// Bytes of memory.
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
  bool dense = false;  // there are no other bytes in its range
  bool words = false;  // of a check: written only to report what is wrong
  Range range() const { return {data - before, data + bytes}; }
};

// A dispatch.
struct Record {
  Kernel kernel;
  std::vector<Bound> arguments;
  Size grid, group;
  bool groups;
  std::shared_ptr<Step> step;
};

// Ranges that hold no value, as the kernel that should write them has failed.
class Unwritten {
 public:
  void add(const Range& range, const std::exception_ptr& error) { all_.push_back({range, error}); }
  // They have been written after all.
  void remove(const Range& range);
  // Why a dispatch cannot run: it reads such a range. Null: it can.
  std::exception_ptr error_for(const Record& record) const;
  void clear() { all_.clear(); }

 private:
  struct Part {
    Range range;
    std::exception_ptr error;
  };
  std::vector<Part> all_;
};

// A step, with its first error once it has run.
class Step final : public Ticket {
 public:
  explicit Step(Work* work) : work_(work) {}
  std::exception_ptr wait() override;
  void fail(const std::exception_ptr& error);
  // A part of it has been given to the GPU.
  void committed(const std::shared_ptr<Flight>& flight, Point point);

 private:
  friend class Work;
  struct Check {
    Ref<Buffer> words;
    std::function<std::exception_ptr(const std::int64_t*)> error;
  };
  Work* work_;  // until all has been committed
  std::vector<std::shared_ptr<Flight>> flights_;
  std::optional<Point> point_;  // of the last one
  std::mutex mutex_;
  std::vector<Check> checks_;
  std::exception_ptr error_;
};

// A committed command buffer: what it needs and will tell.
struct Flight {
  std::vector<Record> records;  // keep memory and pipelines
  std::uint64_t value = 0;      // of the stream's event, when it has run
  std::uint64_t cost = 0;
  std::optional<Completion> completion;  // under the stream's mutex

  // Asks for interrupts, unless they are held off.
  void wait();
  void finish();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
};

// A stream of the GPU. Its command buffers follow each other by an event: resources are untracked,
// so nothing else keeps one from overtaking another. Where one fails, what follows waits until its
// dispatches have been run again, each by itself: so only those fail that must.
class Lane {
 public:
  Lane();
  // Commits recorded work after points of other streams.
  std::shared_ptr<Flight> commit(std::vector<Record> records, std::span<const Point> after,
                                 std::uint64_t cost);
  // Waits while too many command buffers are under way.
  void wait_for_room();
  // The cost after which a command buffer is long enough.
  std::uint64_t most_cost() const { return most_cost_.load(std::memory_order_relaxed); }

  // Counts references to buffers that works of the stream hold.
  void hold(const Buffer* buffer);
  void let_go(const Buffer* buffer);
  std::uint32_t holds(const Buffer* buffer);

 private:
  void completed(const std::shared_ptr<Flight>& flight, const Completion& completion);
  void advance();
  void recover();
  void repeat(std::span<const std::shared_ptr<Flight>> flights);
  Completion run_alone(const Record& record);
  void measure(const Flight& flight, double seconds);

  const std::unique_ptr<Queue> queue_;
  std::unique_ptr<Queue> spare_;  // for what is run again, while queue_ waits
  const std::shared_ptr<Event> event_;
  std::mutex commit_;  // one commits at a time
  std::uint64_t committed_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Flight>> pending_;  // in order, not all done
  bool recovering_ = false;
  double seconds_per_cost_ = 0;  // measured
  std::atomic<std::uint64_t> most_cost_;
  std::mutex held_mutex_;
  std::unordered_map<const Buffer*, std::uint32_t> held_;
};

// The stream's. std::runtime_error in a forked child of a process that had used the GPU.
Lane& lane(Stream stream);
// Null where nothing has been given to it in this process.
Lane* find_lane(Stream stream);

// Encodes dispatches, with barriers between those that overlap in memory, one of them writing.
void encode(CommandBuffer& commands, std::span<const Record> records);

// Barriers between dispatches that overlap in memory: on unless a test switches them off.
void set_hazard_tracking(bool on);

}  // namespace cermet::metal
