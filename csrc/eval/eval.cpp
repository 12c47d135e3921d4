// Evaluation: on the calling thread, or on the thread of a stream.
#include "cermet/eval.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>

#include "eval/batch.h"
#include "eval/interrupt.h"
#include "graph/context.h"

namespace cermet {
namespace {

// The threads of a stream, for work that nobody waits for yet: one gives batches out, the other
// finishes them, so that the next is given out while the last is in flight.
class Worker {
 public:
  Worker() {
    std::thread([this] { give_out(); }).detach();
  }

  void push(std::shared_ptr<Batch> batch) {
    {
      std::scoped_lock lock(mutex_);
      queue_.push_back(std::move(batch));
    }
    changed_.notify_all();
  }
  // The batch that will be the last, of those pushed so far; null when all have run.
  std::shared_ptr<Batch> last() {
    std::scoped_lock lock(mutex_);
    if (!queue_.empty()) return queue_.back();
    return in_flight_.empty() ? nullptr : in_flight_.back();
  }
  // Finishes a batch, here if there can be no thread.
  void finish(const std::shared_ptr<Batch>& batch) {
    try {
      std::scoped_lock lock(mutex_);
      if (!finishes_) std::thread([this] { finish_all(); }).detach();
      finishes_ = true;
      in_flight_.push_back(batch);
    } catch (const std::exception&) {
      const Uninterrupted now;
      return batch->finish();
    }
    changed_.notify_all();
  }

 private:
  static constexpr std::size_t kAhead = 3;  // batches in flight; each holds memory

  void give_out() {
    become_own_thread();
    for (std::unique_lock lock(mutex_);;) {
      changed_.wait(lock, [&] { return !queue_.empty() && in_flight_.size() < kAhead; });
      const std::shared_ptr<Batch> batch = queue_.front();
      lock.unlock();
      if (is_ending())
        batch->abandon();
      else if (!batch->run_ahead())
        finish(batch);
      lock.lock();
      queue_.pop_front();
    }
  }
  void finish_all() {
    become_own_thread();
    const Uninterrupted always;  // the process's end waits for what is in flight
    for (std::unique_lock lock(mutex_);;) {
      changed_.wait(lock, [&] { return !in_flight_.empty(); });
      std::shared_ptr<Batch> batch = in_flight_.front();
      lock.unlock();
      batch->finish();
      batch = nullptr;
      lock.lock();
      in_flight_.pop_front();
      changed_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Batch>> queue_;  // the front one is being given out
  std::deque<std::shared_ptr<Batch>> in_flight_;
  bool finishes_ = false;
};

// The workers of this process, under Lock::workers. Never destroyed: they run until it ends.
std::map<int, Worker*>& workers() {
  static auto* by_stream = new std::map<int, Worker*>;
  static int generation = process_generation();
  if (generation != process_generation()) {  // a forked child has none
    by_stream = new std::map<int, Worker*>;
    generation = process_generation();
  }
  return *by_stream;
}

bool is_done(const array& a) { return a.is_available(); }

// The batch of the first array from the i-th on that has no value but one. Those before it need
// theirs no more; when that are all, neither does the caller.
std::shared_ptr<Batch> next_batch(const Arrays& arrays, std::size_t& i,
                                  std::shared_ptr<Batch>& mine) {
  const std::scoped_lock lock(graph_mutex());
  for (; i < arrays.size(); ++i) {
    Node& n = *arrays[i].node();
    const Status status = n.status.load(std::memory_order_acquire);
    if (status == Status::available)
      n.batch = nullptr;
    else if (status != Status::lazy)
      return n.batch;
  }
  if (mine) Batch::keep(mine);
  return nullptr;
}

// Null when there can be no thread.
Worker* worker_of(int stream) {
  std::scoped_lock lock(mutex_of(Lock::workers));
  Worker*& worker = workers()[stream];
  try {
    if (!worker) worker = new Worker;
  } catch (const std::system_error&) {
  }
  return worker;
}

}  // namespace

void wait_for_streams() {
  const Unlocked unlocked;
  std::vector<Worker*> all;  // a batch has steps of several streams, and runs on one thread
  {
    std::scoped_lock lock(mutex_of(Lock::workers));
    for (const auto& [stream, worker] : workers()) all.push_back(worker);
  }
  for (Worker* worker : all)
    if (worker)
      if (const auto batch = worker->last()) batch->wait();
  wait_for_flights();
}

void finish_later(std::shared_ptr<Batch> batch) {
  constexpr int kNoStream = -1;
  if (Worker* const worker = worker_of(kNoStream)) return worker->finish(batch);
  const Uninterrupted now;
  batch->finish();
}

void eval(const Arrays& arrays) {
  if (std::all_of(arrays.begin(), arrays.end(), is_done)) return;
  const Unlocked unlocked;
  do {
    std::shared_ptr<Batch> batch;
    {
      std::scoped_lock lock(graph_mutex());
      batch = Batch::make(arrays);
    }
    if (batch) {
      if (!batch->waits_below()) {
        if (auto error = batch->run()) std::rethrow_exception(error);
      } else {
        batch->abandon();
        Evaluation::innermost()->batch.wait();
      }
    }
    for (std::size_t i = 0; const auto other = next_batch(arrays, i, batch); ++i) {
      other->wait();
      const Node* const n = arrays[i].node();
      if (n->status.load(std::memory_order_acquire) == Status::failed)
        std::rethrow_exception(other->error_of(n));
    }
  } while (!std::all_of(arrays.begin(), arrays.end(), is_done));
}

void async_eval(const Arrays& arrays) {
  if (std::all_of(arrays.begin(), arrays.end(), is_done)) return;
  const Unlocked unlocked;
  std::shared_ptr<Batch> batch;
  {
    // A stream's queue has the order of scheduling: a batch waits only for earlier ones.
    std::scoped_lock lock(graph_mutex());
    Worker* const worker = worker_of(arrays[0].stream().index);
    batch = Batch::make(arrays);
    if (!batch) return;
    try {
      if (worker) return worker->push(batch);
    } catch (const std::bad_alloc&) {
    }
  }
  batch->run();  // what nobody can do later is done now
}

std::string explain(const Arrays& arrays, bool code) {
  std::scoped_lock lock(graph_mutex());
  const Tape& tape = record(arrays, limits_of);
  const auto plan = plan_of(tape, limits_of);
  if (!code) return to_string(*plan, tape);
  std::vector<std::uint64_t> constants;
  for (const Node* c : tape.constants) constants.push_back(c->scalar);
  return to_string(*plan, tape, [&](const Step& step) {
    const ProgramRun run = bind(*step.program, tape.nodes.data(), constants.data());
    const Backend& mine = backend_of(step.stream.device);
    return (mine.takes(run) ? mine : host_backend()).listing(run);
  });
}

PlanCounts plan_counts() {
  std::scoped_lock lock(graph_mutex());
  PlanCounts counts = counts_of_plans();
  host_backend().count(counts);
  return counts;
}

void context::evaluate(const Arrays& arrays) { eval(arrays); }
void context::check_interrupt() { poll_interrupt(); }

}  // namespace cermet
