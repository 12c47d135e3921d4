// Recording, ordering and committing a stream's work.
#include "metal/work.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <set>

#include "eval/memory.h"
#include "graph/fork.h"
#include "metal/program.h"
#include "metal/regions.h"

namespace cermet::metal {
namespace {

constexpr std::size_t kMaxRecords = 128;        // a command buffer
constexpr std::uint64_t kMaxCost = 512u << 20;  // bytes moved: some milliseconds

std::atomic<bool> track_hazards{true};

// A stream's queue. Its command buffers follow each other by an event: resources are untracked, so
// nothing else keeps one from overtaking another.
struct Lane {
  std::mutex mutex;
  std::unique_ptr<Queue> queue;
  std::shared_ptr<Event> event;
  std::uint64_t committed = 0;
};

// The streams' queues, for as long as the process lives.
struct Lanes {
  std::mutex mutex;
  std::map<std::int32_t, std::unique_ptr<Lane>> by_stream;
};

Lane& lane(Stream stream) {
  static Lanes* const all = new Lanes;
  static const int generation = process_generation();
  if (generation != process_generation())
    throw std::runtime_error(
        "a GPU that was used before a fork cannot be used in the child; start such processes anew, "
        "as multiprocessing does with the method 'spawn'");
  std::scoped_lock lock(all->mutex);
  auto& entry = all->by_stream[stream.index];
  if (!entry) {
    entry = std::make_unique<Lane>();
    entry->queue = device()->queue();
    entry->event = device()->event();
  }
  return *entry;
}

// The bytes before and from the element at index zero that a tensor covers.
std::pair<std::size_t, std::size_t> reach(const Tensor& t) {
  std::int64_t low = 0, high = 1;
  for (std::size_t i = 0; i < t.shape.size(); ++i) {
    if (t.shape[i] == 0) return {0, 0};
    (t.strides[i] < 0 ? low : high) += (t.shape[i] - 1) * t.strides[i];
  }
  const std::size_t size = size_of(t.dtype);
  return {static_cast<std::size_t>(-low) * size, static_cast<std::size_t>(high) * size};
}

}  // namespace

void set_hazard_tracking(bool on) { track_hazards = on; }

// What a command buffer in flight needs and will tell.
struct Work::Flight {
  std::vector<Record> records;  // keep memory and pipelines
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  std::exception_ptr error;

  void wait() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return done; });
  }
};

struct Work::Step final : Ticket {
  explicit Step(Work* work) : work(work) {}
  std::exception_ptr wait() override {
    if (work) work->finish();
    return error;
  }
  void fail(const std::exception_ptr& e) {
    if (!error) error = e;
  }
  Work* work;  // null when it has run
  std::exception_ptr error;
};

Work::Work(Stream stream) : stream_(stream) {}

Work::~Work() {
  for (const auto& flight : flights_) flight->wait();
  for (const auto& step : steps_) step->work = nullptr;
}

std::shared_ptr<Ticket> Work::begin() {
  if (records_.size() >= kMaxRecords || cost_ >= kMaxCost) flush();
  steps_.push_back(std::make_shared<Step>(this));
  return steps_.back();
}

std::shared_ptr<Ticket> Work::run(const cermet::Kernel& kernel, const ProgramRun& run) {
  auto ticket = begin();
  metal::run(*this, kernel, run);
  return ticket;
}

std::shared_ptr<Ticket> Work::run(Node& node, std::span<Node* const> inputs) {
  auto ticket = begin();
  std::vector<Tensor> tensors;
  for (const Node* n : inputs) tensors.push_back(tensor(*n));
  if (node.primitive->kind() == Kind::custom) {
    node.outputs = metal::run(*this, static_cast<const GpuKernel&>(*node.primitive), tensors);
    node.buffer = node.outputs[0].node()->buffer;
  } else {
    metal::run(*this, *node.primitive, tensors, tensor(node));
  }
  return ticket;
}

std::shared_ptr<Ticket> Work::copy(const Node& from, const Node& to) {
  auto ticket = begin();
  metal::copy(*this, tensor(from), tensor(to));
  return ticket;
}

void Work::hold(const Ref<Buffer>& buffer) {
  if (!held_.try_emplace(buffer.get(), buffer).second || buffer->borrowed()) return;
  used_[buffer->capacity()].push_back(buffer.get());
  ++in_use_;
}

// Memory that only earlier work of this stream still uses: hazards are ordered. What was given last
// is free first, mostly; all is looked through after so many misses that each looks at few.
Buffer* Work::take_free(std::size_t bytes) {
  constexpr std::size_t kLast = 16, kPart = 8;
  const std::size_t most = bytes + bytes / 4 + 64;
  const auto end = used_.upper_bound(most);
  for (auto it = used_.lower_bound(bytes); it != end; ++it) {
    auto& blocks = it->second;
    for (std::size_t i = 1; i <= std::min(kLast, blocks.size()); ++i)
      if (const auto at = blocks.end() - static_cast<std::ptrdiff_t>(i); (*at)->refs() == 1) {
        std::rotate(at, at + 1, blocks.end());
        return blocks.back();
      }
  }
  if (++misses_ * kPart > in_use_) {
    misses_ = 0;
    for (auto& [capacity, blocks] : used_)
      in_use_ -= std::erase_if(
          blocks, [&](Buffer* b) { return b->refs() == 1 && (free_.emplace(capacity, b), true); });
  }
  const auto found = free_.lower_bound(bytes);
  if (found == free_.end() || found->first > most) return nullptr;
  Buffer* const taken = found->second;
  used_[found->first].push_back(taken);
  ++in_use_;
  free_.erase(found);
  return taken;
}

Ref<Buffer> Work::allocate(std::size_t bytes) {
  Buffer* const found = take_free(bytes);
  const Ref<Buffer> result = found ? held_.at(found) : cermet::allocate(bytes);
  hold(result);
  fresh_.insert(result.get());
  return result;
}

Tensor Work::temporary(Shape shape, Dtype dtype) {
  const std::int64_t n = element_count(shape);
  Strides strides = row_major(shape);
  return {allocate(static_cast<std::size_t>(n) * size_of(dtype)), 0, dtype, std::move(shape),
          std::move(strides)};
}

Tensor Work::check(std::function<std::exception_ptr(const std::int64_t*)> error) {
  Tensor t{cermet::allocate(4 * sizeof(std::int64_t)), 0, int64, {4}, {1}};
  std::memset(t.buffer->data(), 0, 4 * sizeof(std::int64_t));
  checks_.push_back({steps_.back(), t.buffer, std::move(error)});
  return t;
}

void Work::threads(const Kernel& kernel, std::span<const Argument> arguments, Size grid,
                   Size group) {
  record(kernel, arguments, grid, group, false);
}
void Work::groups(const Kernel& kernel, std::span<const Argument> arguments, Size groups,
                  Size group) {
  record(kernel, arguments, groups, group, true);
}

Work::Bound Work::bind(const Argument& argument) {
  Bound b;
  b.kind = argument.kind;
  if (argument.kind == Argument::Kind::bytes) {
    const auto* data = static_cast<const std::byte*>(argument.data);
    b.value.assign(data, data + argument.size);
    return b;
  }
  const Tensor& t = *argument.tensor;
  hold(t.buffer);
  const MemoryRegion region = region_of(*t.buffer);
  std::tie(b.before, b.bytes) = reach(t);
  b.access = argument.access;
  b.memory = regions().map(region);
  b.data = static_cast<std::byte*>(t.buffer->data()) + t.offset;
  b.offset = static_cast<std::size_t>(b.data - static_cast<std::byte*>(region.data));
  b.fresh = b.access != Access::read && fresh_.erase(t.buffer.get());
  return b;
}

void Work::record(const Kernel& kernel, std::span<const Argument> arguments, Size grid, Size group,
                  bool groups) {
  if (grid.product() == 0) return;
  Record r{kernel, {}, grid, group, groups, steps_.back()};
  for (const Argument& a : arguments) {
    r.arguments.push_back(bind(a));
    cost_ += r.arguments.back().bytes;
  }
  records_.push_back(std::move(r));
}

bool Work::conflicts(const Record& record) const {
  const auto overlap = [](const std::vector<Range>& ranges, const Bound& b) {
    return std::any_of(ranges.begin(), ranges.end(),
                       [&](const Range& r) { return r.overlaps(b.range()); });
  };
  for (const Bound& b : record.arguments)
    if (b.kind == Argument::Kind::buffer &&
        (overlap(written_, b) || (b.access != Access::read && overlap(read_, b))))
      return true;
  return false;
}

void Work::encode(CommandBuffer& commands) {
  read_.clear();
  written_.clear();
  for (const Record& r : records_) {
    if (track_hazards && conflicts(r)) {
      commands.barrier();
      read_.clear();
      written_.clear();
    }
    commands.set_pipeline(*r.kernel.source->pipeline);
    int slot = 0;
    for (const Bound& b : r.arguments) {
      switch (b.kind) {
        case Argument::Kind::bytes:
          commands.set_bytes(slot++, b.value.data(), b.value.size());
          break;
        case Argument::Kind::buffer:
          if (b.fresh) commands.declare_undefined(*b.memory, b.offset, b.bytes);
          commands.set_buffer(slot, *b.memory, b.offset, b.bytes, b.access);
          if (b.before) commands.allow_before(slot, b.before);
          ++slot;
          (b.access == Access::read ? read_ : written_).push_back(b.range());
      }
    }
    if (r.groups)
      commands.dispatch_threadgroups(r.grid, r.group);
    else
      commands.dispatch_threads(r.grid, r.group);
  }
}

// A kernel that does not compile fails its step, and what would read its results.
void Work::compile_recorded() {
  std::vector<Kernel> kernels;
  for (const Record& r : records_) kernels.push_back(r.kernel);
  const std::vector<std::exception_ptr> errors = kernel_cache().compile(kernels);
  std::vector<Record> runnable;
  for (std::size_t i = 0; i < records_.size(); ++i) {
    Record& r = records_[i];
    std::exception_ptr error = errors[i];
    for (const Bound& b : r.arguments)
      for (const Unwritten& u : unwritten_)
        if (!error && b.access != Access::write && u.range.overlaps(b.range())) error = u.error;
    for (const Bound& b : r.arguments)
      if (b.kind == Argument::Kind::buffer && b.access != Access::read) {
        declare_written(b.range());
        if (error) unwritten_.push_back({b.range(), error});
      }
    if (error)
      r.step->fail(error);
    else
      runnable.push_back(std::move(r));
  }
  records_ = std::move(runnable);
}

void Work::declare_written(const Range& range) {
  for (const Unwritten& u : std::exchange(unwritten_, {})) {
    const Range before{u.range.begin, std::min(u.range.end, range.begin)};
    const Range after{std::max(u.range.begin, range.end), u.range.end};
    if (before.begin < before.end) unwritten_.push_back({before, u.error});
    if (after.begin < after.end) unwritten_.push_back({after, u.error});
  }
}

void Work::flush() {
  if (records_.empty()) return;
  std::set<std::shared_ptr<Step>> steps;
  for (const Record& r : records_) steps.insert(r.step);
  cost_ = 0;
  try {
    Lane& l = lane(stream_);
    compile_recorded();
    auto flight = std::make_shared<Flight>();
    std::scoped_lock lock(l.mutex);
    const auto commands = l.queue->command_buffer();
    if (l.committed) commands->wait(*l.event, l.committed);
    for (const Point& p : waits_) commands->wait(*p.first, p.second);
    waits_.clear();
    encode(*commands);
    const std::uint64_t value = l.committed + 1;
    commands->signal(*l.event, value);
    flight->records = std::move(records_);
    records_.clear();
    flights_.reserve(flights_.size() + 1);
    commands->commit([flight, event = l.event, value](std::exception_ptr error) {
      if (error && event->value() < value) event->signal(value);  // nobody waits for what failed
      std::scoped_lock held(flight->mutex);
      flight->error = error;
      flight->done = true;
      flight->changed.notify_all();
    });
    l.committed = value;
    flights_.push_back(flight);
  } catch (...) {
    for (const auto& step : steps) step->fail(std::current_exception());
    records_.clear();
  }
}

void Work::finish() {
  flush();
  for (const auto& flight : flights_) {
    flight->wait();
    if (flight->error)
      for (const Record& r : flight->records) r.step->fail(flight->error);
  }
  flights_.clear();
  for (const Check& c : checks_) {
    const auto* words = static_cast<const std::int64_t*>(c.words->data());
    if (words[0]) c.step->fail(c.error(words));
  }
  checks_.clear();
  held_.clear();
  used_.clear();
  free_.clear();
  in_use_ = misses_ = 0;
  fresh_.clear();
  unwritten_.clear();
  for (const auto& step : std::exchange(steps_, {})) step->work = nullptr;
}

Work::Point Work::point() {
  flush();
  Lane& l = lane(stream_);
  std::scoped_lock lock(l.mutex);
  return {l.event, l.committed};
}

void Work::wait_for(Ticket& ticket) {
  auto* step = dynamic_cast<Step*>(&ticket);
  if (!step) {
    ticket.wait();
  } else if (step->work) {
    const Point point = step->work->point();
    flush();
    waits_.push_back(point);
  }
}

}  // namespace cermet::metal
