// Recording, ordering and committing a stream's work.
#include "metal/work.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "eval/interrupt.h"
#include "eval/memory.h"
#include "metal/program.h"
#include "metal/regions.h"

namespace cermet::metal {
namespace {

constexpr std::size_t kMaxRecords = 128;  // a command buffer

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

Work::Work(Stream stream) : stream_(stream) {}

Work::~Work() {
  const Uninterrupted always;
  for (const auto& flight : flights_) flight->wait();
  for (const auto& step : steps_) step->work_ = nullptr;
  let_go();
}

std::shared_ptr<Ticket> Work::begin() {
  if (!records_.empty() && (records_.size() >= kMaxRecords || cost_ >= lane().most_cost())) {
    lane().wait_for_room();
    flush();
  }
  steps_.push_back(std::make_shared<Step>(this));
  return steps_.back();
}

template <class F>
std::shared_ptr<Ticket> Work::step(F record) {
  auto ticket = begin();
  const std::size_t records = records_.size();
  const std::uint64_t cost = cost_;
  try {
    record();
  } catch (...) {
    records_.erase(records_.begin() + static_cast<std::ptrdiff_t>(records), records_.end());
    cost_ = cost;
    steps_.pop_back();
    throw;
  }
  return ticket;
}

std::shared_ptr<Ticket> Work::run(const cermet::Kernel& kernel, const ProgramRun& run) {
  return step([&] { metal::run(*this, kernel, run); });
}

std::shared_ptr<Ticket> Work::run(Node& node, std::span<Node* const> inputs) {
  return step([&] {
    std::vector<Tensor> tensors;
    for (const Node* n : inputs) tensors.push_back(tensor(*n));
    if (node.primitive->kind() == Kind::custom) {
      node.outputs = metal::run(*this, static_cast<const GpuKernel&>(*node.primitive), tensors);
      node.buffer = node.outputs[0].node()->buffer;
    } else {
      metal::run(*this, *node.primitive, tensors, tensor(node));
    }
  });
}

std::shared_ptr<Ticket> Work::copy(const Node& from, const Node& to) {
  return step([&] { metal::copy(*this, tensor(from), tensor(to)); });
}

Lane& Work::lane() {
  if (!lane_) lane_ = &metal::lane(stream_);
  return *lane_;
}

std::uint32_t Work::holds(const Buffer& buffer) const {
  Lane* const used = lane_ ? lane_ : find_lane(stream_);
  return used ? used->holds(&buffer) : 0;
}

void Work::hold(const Ref<Buffer>& buffer) {
  Lane& held_by = lane();
  if (!held_.try_emplace(buffer.get(), buffer).second) return;
  held_by.hold(buffer.get());
  if (buffer->borrowed()) return;
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
      if (const auto at = blocks.end() - static_cast<std::ptrdiff_t>(i);
          (*at)->refs() == 1 && !read_.contains(*at)) {
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
  const auto found = std::find_if(free_.lower_bound(bytes), free_.upper_bound(most),
                                  [&](const auto& f) { return !read_.contains(f.second); });
  if (found == free_.upper_bound(most)) return nullptr;
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
  steps_.back()->checks_.push_back({t.buffer, std::move(error)});
  words_.insert(t.buffer.get());
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

Buffer& Work::copy_of(const Buffer& borrowed) {
  Ref<Buffer>& copy = copies_[&borrowed];
  if (copy) return *copy;
  copy = cermet::allocate(borrowed.bytes());
  std::memcpy(copy->data(), borrowed.data(), borrowed.bytes());
  return *copy;
}

Bound Work::bind(const Argument& argument) {
  Bound b;
  b.kind = argument.kind;
  if (argument.kind == Argument::Kind::bytes) {
    const auto* data = static_cast<const std::byte*>(argument.data);
    b.value.assign(data, data + argument.size);
    return b;
  }
  const Tensor& t = *argument.tensor;
  hold(t.buffer);
  const Buffer* buffer = t.buffer.get();
  MemoryRegion region = region_of(*buffer);
  std::tie(b.before, b.bytes) = reach(t);
  b.access = argument.access;
  try {
    b.memory = regions().map(region);
  } catch (const OutOfMemory&) {  // others' memory the device may refuse
    if (!buffer->borrowed()) throw;
    buffer = &copy_of(*buffer);
    region = region_of(*buffer);
    b.memory = regions().map(region);
  }
  b.data = static_cast<std::byte*>(buffer->data()) + t.offset;
  b.offset = static_cast<std::size_t>(b.data - static_cast<std::byte*>(region.data));
  b.fresh = b.access != Access::read && fresh_.erase(t.buffer.get());
  b.dense = is_row_major(t);
  b.words = words_.contains(t.buffer.get());
  if (b.access == Access::write) {
    if (!read_.contains(t.buffer.get())) written_.insert(t.buffer.get());
  } else if (!written_.contains(t.buffer.get())) {
    read_.insert(t.buffer.get());
  }
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

// A kernel that does not compile fails its step, and what would read its results.
void Work::compile_recorded() {
  std::vector<Kernel> kernels;
  for (const Record& r : records_) kernels.push_back(r.kernel);
  const std::vector<std::exception_ptr> errors = kernel_cache().compile(kernels);
  std::vector<Record> runnable;
  for (std::size_t i = 0; i < records_.size(); ++i) {
    Record& r = records_[i];
    std::exception_ptr error = errors[i];
    if (!error) error = unwritten_.error_for(r);
    for (const Bound& b : r.arguments)
      if (b.kind == Argument::Kind::buffer && b.access != Access::read) {
        unwritten_.remove(b.range());
        if (error) unwritten_.add(b.range(), error);
      }
    if (error)
      r.step->fail(error);
    else
      runnable.push_back(std::move(r));
  }
  records_ = std::move(runnable);
}

void Work::flush() {
  if (records_.empty()) return;
  std::set<std::shared_ptr<Step>> steps;
  for (const Record& r : records_) steps.insert(r.step);
  const std::uint64_t cost = std::exchange(cost_, 0);
  try {
    compile_recorded();
    flights_.reserve(flights_.size() + 1);
    if (!records_.empty()) {
      flights_.push_back(lane().commit(std::move(records_), waits_, cost));
      waits_.clear();
    }
  } catch (...) {
    for (const auto& step : steps) step->fail(std::current_exception());
  }
  records_.clear();
  read_.clear();
  written_.clear();
}

void Work::finish() {
  flush();
  // A handler that is asked meanwhile may finish, too.
  for (std::size_t i = 0; i < flights_.size(); ++i) {
    const auto flight = flights_[i];
    flight->wait();
  }
  flights_.clear();
  let_go();
  words_.clear();
  unwritten_.clear();
  for (const auto& step : std::exchange(steps_, {})) step->work_ = nullptr;
}

void Work::submit() {
  flush();
  for (const auto& step : std::exchange(steps_, {})) step->work_ = nullptr;
}

void Work::let_go() {
  for (const auto& [buffer, ref] : held_) lane_->let_go(buffer);
  held_.clear();
  copies_.clear();
  used_.clear();
  free_.clear();
  in_use_ = misses_ = 0;
  fresh_.clear();
}

void Work::wait_for(Ticket& ticket) {
  auto* const step = dynamic_cast<Step*>(&ticket);
  if (!step) {
    ticket.wait();
    return;
  }
  if (step->work_) step->work_->flush();
  if (!step->point_) return;
  flush();
  waits_.push_back(*step->point_);
}

}  // namespace cermet::metal
