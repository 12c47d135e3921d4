// Streams of the GPU and their command buffers, from the commit to the last dispatch that was run
// again.
#include "metal/flight.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <new>
#include <string>
#include <system_error>
#include <thread>

#include "cermet/memory.h"
#include "eval/interrupt.h"
#include "graph/fork.h"
#include "metal/work.h"

namespace cermet::metal {
namespace {

constexpr std::size_t kMostFlights = 16;     // command buffers of a stream that are under way
constexpr std::uint64_t kCost = 512u << 20;  // bytes moved: some milliseconds
constexpr double kSeconds = 0.05;            // that a command buffer may hold the GPU
constexpr int kAttempts = 2;                 // at a dispatch that the system aborts

std::atomic<bool> track_hazards{true};

// The streams, for as long as the process lives.
struct Lanes {
  std::atomic<int> generation{-1};  // of the process that used the GPU first
  std::mutex mutex;
  std::map<std::int32_t, std::unique_ptr<Lane>> by_stream;
};

Lanes& lanes() {
  static Lanes* const all = new Lanes;
  return *all;
}

bool is_written(const Bound& b) {
  return b.kind == Argument::Kind::buffer && b.access != Access::read && !b.words;
}
bool is_read(const Bound& b) {
  return b.kind == Argument::Kind::buffer && b.access != Access::write && !b.words;
}

// The error with the kernel's name, unless it says more than that already.
std::exception_ptr name_kernel(const Record& record, const std::exception_ptr& error) {
  const std::string& name = record.kernel.source->name;
  try {
    std::rethrow_exception(error);
  } catch (const OutOfMemory& e) {
    return std::make_exception_ptr(OutOfMemory("Metal kernel " + name + ": " + e.what()));
  } catch (const DeviceError& e) {
    return std::make_exception_ptr(DeviceError("Metal kernel " + name + ": " + e.what()));
  } catch (...) {
    return std::current_exception();
  }
}

}  // namespace

void set_hazard_tracking(bool on) { track_hazards = on; }

// ---- Steps and command buffers -----------------------------------------------------------------

void Unwritten::remove(const Range& range) {
  for (const Part& p : std::exchange(all_, {})) {
    const Range before{p.range.begin, std::min(p.range.end, range.begin)};
    const Range after{std::max(p.range.begin, range.end), p.range.end};
    if (before.begin < before.end) all_.push_back({before, p.error});
    if (after.begin < after.end) all_.push_back({after, p.error});
  }
}

std::exception_ptr Unwritten::error_for(const Record& record) const {
  for (const Bound& b : record.arguments)
    if (is_read(b))
      for (const Part& p : all_)
        if (p.range.overlaps(b.range())) return p.error;
  return nullptr;
}

std::exception_ptr Step::wait() {
  if (work_) work_->finish();
  for (const auto& flight : flights_) flight->wait();
  const std::scoped_lock lock(mutex_);
  for (const Check& c : std::exchange(checks_, {})) {
    const auto* words = static_cast<const std::int64_t*>(c.words->data());
    if (words[0] && !error_) error_ = c.error(words);
  }
  return error_;
}

void Step::fail(const std::exception_ptr& error) {
  const std::scoped_lock lock(mutex_);
  if (!error_) error_ = error;
}

void Step::committed(const std::shared_ptr<Flight>& flight, Point point) {
  if (flights_.empty() || flights_.back() != flight) flights_.push_back(flight);
  point_ = std::move(point);
}

void Flight::wait() {
  for (std::unique_lock lock(mutex_); !done_; lock.lock()) {
    changed_.wait_for(lock, std::chrono::milliseconds(20), [&] { return done_; });
    if (done_) return;
    lock.unlock();
    poll_interrupt();
  }
}

void Flight::finish() {
  records.clear();
  const std::scoped_lock lock(mutex_);
  done_ = true;
  changed_.notify_all();
}

void encode(CommandBuffer& commands, std::span<const Record> records) {
  std::vector<Range> read, written;  // since the last barrier
  const auto overlap = [](const std::vector<Range>& ranges, const Bound& b) {
    return std::any_of(ranges.begin(), ranges.end(),
                       [&](const Range& r) { return r.overlaps(b.range()); });
  };
  const auto conflicts = [&](const Bound& b) {
    return b.kind == Argument::Kind::buffer &&
           (overlap(written, b) || (b.access != Access::read && overlap(read, b)));
  };
  for (const Record& r : records) {
    if (track_hazards && std::any_of(r.arguments.begin(), r.arguments.end(), conflicts)) {
      commands.barrier();
      read.clear();
      written.clear();
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
          (b.access == Access::read ? read : written).push_back(b.range());
      }
    }
    if (r.groups)
      commands.dispatch_threadgroups(r.grid, r.group);
    else
      commands.dispatch_threads(r.grid, r.group);
  }
}

// ---- Streams -----------------------------------------------------------------------------------

Lane& lane(Stream stream) {
  Lanes& all = lanes();
  int none = -1;
  all.generation.compare_exchange_strong(none, process_generation());
  if (all.generation != process_generation())
    throw std::runtime_error(
        "a GPU that was used before a fork cannot be used in the child; start such processes anew, "
        "as multiprocessing does with the method 'spawn'");
  std::scoped_lock lock(all.mutex);
  auto& entry = all.by_stream[stream.index];
  if (!entry) entry = std::make_unique<Lane>();
  return *entry;
}

Lane* find_lane(Stream stream) {
  Lanes& all = lanes();
  if (all.generation != process_generation()) return nullptr;
  std::scoped_lock lock(all.mutex);
  const auto it = all.by_stream.find(stream.index);
  return it == all.by_stream.end() ? nullptr : it->second.get();
}

Lane::Lane() : queue_(device()->queue()), event_(device()->event()), most_cost_(kCost) {}

std::shared_ptr<Flight> Lane::commit(std::vector<Record> records, std::span<const Point> after,
                                     std::uint64_t cost) {
  auto flight = std::make_shared<Flight>();
  const std::scoped_lock one(commit_);
  const auto commands = queue_->command_buffer();
  if (committed_) commands->wait(*event_, committed_);
  for (const Point& p : after) commands->wait(*p.event, p.value);
  encode(*commands, records);
  flight->value = committed_ + 1;
  flight->cost = cost;
  commands->signal(*event_, flight->value);
  flight->records = std::move(records);
  {
    const std::scoped_lock lock(mutex_);
    pending_.push_back(flight);
  }
  for (const Record& r : flight->records) r.step->committed(flight, {event_, flight->value});
  try {
    commands->commit([this, flight](const Completion& c) { completed(flight, c); });
  } catch (...) {
    Completion failed;
    failed.error = std::current_exception();
    completed(flight, failed);
  }
  committed_ = flight->value;
  return flight;
}

void Lane::wait_for_room() {
  for (std::unique_lock lock(mutex_); pending_.size() >= kMostFlights; lock.lock()) {
    changed_.wait_for(lock, std::chrono::milliseconds(20));
    lock.unlock();
    poll_interrupt();
  }
}

void Lane::completed(const std::shared_ptr<Flight>& flight, const Completion& completion) {
  const std::scoped_lock lock(mutex_);
  flight->completion = completion;
  if (!completion.error) measure(*flight, completion.seconds);
  advance();
}

void Lane::measure(const Flight& flight, double seconds) {
  if (seconds <= 0 || flight.cost == 0) return;
  const double rate = seconds / static_cast<double>(flight.cost);
  seconds_per_cost_ = std::max(rate, (seconds_per_cost_ + rate) / 2);  // slower is believed at once
  const double most = kSeconds / seconds_per_cost_;
  most_cost_ = static_cast<std::uint64_t>(std::clamp(most, double{kCost} / 256, double{kCost} * 2));
}

// Under mutex_: what has run is done, in order, up to a failure.
void Lane::advance() {
  while (!recovering_ && !pending_.empty() && pending_.front()->completion) {
    const auto flight = pending_.front();
    if (!flight->completion->error) {
      pending_.pop_front();
      flight->finish();
      continue;
    }
    recovering_ = true;
    try {
      std::thread([this] { recover(); }).detach();
    } catch (const std::system_error&) {
      recovering_ = false;
      for (const Record& r : flight->records)
        r.step->fail(name_kernel(r, flight->completion->error));
      if (event_->value() < flight->value) event_->signal(flight->value);
      pending_.pop_front();
      flight->finish();
    }
  }
  changed_.notify_all();
}

// In a thread of its own: who calls when a command buffer has ended may not wait for another.
void Lane::recover() {
  become_own_thread();
  std::vector<std::shared_ptr<Flight>> flights;
  {
    const std::scoped_lock one(commit_);  // nothing is added meanwhile
    std::unique_lock lock(mutex_);
    flights.push_back(pending_.front());
    if (event_->value() >= flights[0]->value) {  // what follows has run on what is not there
      changed_.wait(lock, [&] {
        return std::all_of(pending_.begin(), pending_.end(),
                           [](const auto& f) { return f->completion.has_value(); });
      });
      flights.assign(pending_.begin(), pending_.end());
    }
    lock.unlock();
    repeat(flights);
  }
  const std::scoped_lock lock(mutex_);
  for (const auto& flight : flights) {
    if (event_->value() < flight->value) event_->signal(flight->value);
    pending_.pop_front();
    flight->finish();
  }
  recovering_ = false;
  advance();
}

// Runs dispatches again, one after the other, where what they read is still there or there again.
void Lane::repeat(std::span<const std::shared_ptr<Flight>> flights) {
  const std::exception_ptr failure = flights[0]->completion->error;
  Unwritten dirty;  // what may have been overwritten by those that stand behind
  for (const auto& flight : flights)
    for (const Record& r : flight->records)
      for (const Bound& b : r.arguments)
        if (is_written(b)) dirty.add(b.range(), failure);
  for (const auto& flight : flights) {
    const auto& completion = *flight->completion;
    for (std::size_t i = 0; i < flight->records.size(); ++i) {
      const Record& r = flight->records[i];
      std::exception_ptr error = dirty.error_for(r);
      const bool guilty = completion.error && !completion.aborted && completion.dispatch == i;
      if (error) {
        if (error == failure) error = name_kernel(r, error);
      } else if (guilty) {
        error = name_kernel(r, completion.error);
      } else if (Completion again = run_alone(r); again.error) {
        error = name_kernel(r, again.error);
      }
      if (error) r.step->fail(error);
      for (const Bound& b : r.arguments)
        if (is_written(b) && b.dense) {
          dirty.remove(b.range());
          if (!error) continue;
          dirty.add(b.range(), error);
          // Whoever reads them fails, but may look where they point to.
          std::memset(b.data - b.before, 0, b.before + b.bytes);
        }
    }
  }
}

Completion Lane::run_alone(const Record& record) {
  Completion result;
  for (int i = 0; i < kAttempts; ++i) {
    struct Waiting {
      std::mutex mutex{};
      std::condition_variable changed{};
      std::optional<Completion> completion{};
    };
    const auto waiting = std::make_shared<Waiting>();
    try {
      if (!spare_) spare_ = device()->queue();
      const auto commands = spare_->command_buffer();
      encode(*commands, {&record, 1});
      commands->commit([waiting](const Completion& c) {
        const std::scoped_lock lock(waiting->mutex);
        waiting->completion = c;
        waiting->changed.notify_all();
      });
      std::unique_lock lock(waiting->mutex);
      waiting->changed.wait(lock, [&] { return waiting->completion.has_value(); });
      result = *waiting->completion;
    } catch (...) {
      result.error = std::current_exception();
      result.aborted = false;
    }
    if (!result.error || !result.aborted) break;
  }
  return result;
}

void Lane::hold(const Buffer* buffer) {
  const std::scoped_lock lock(held_mutex_);
  ++held_[buffer];
}
void Lane::let_go(const Buffer* buffer) {
  const std::scoped_lock lock(held_mutex_);
  const auto it = held_.find(buffer);
  if (--it->second == 0) held_.erase(it);
}
std::uint32_t Lane::holds(const Buffer* buffer) {
  const std::scoped_lock lock(held_mutex_);
  const auto it = held_.find(buffer);
  return it == held_.end() ? 0 : it->second;
}

}  // namespace cermet::metal
