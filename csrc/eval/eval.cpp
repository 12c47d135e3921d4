// Evaluation: on the calling thread, or on the thread of a stream.
#include "cermet/eval.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <map>
#include <system_error>
#include <thread>

#include "eval/batch.h"
#include "eval/interrupt.h"
#include "graph/context.h"

namespace cermet {
namespace {

// The thread of a stream, for work that nobody waits for yet.
class Worker {
 public:
  Worker() {
    std::thread([this] { loop(); }).detach();
  }

  void push(std::shared_ptr<Batch> batch) {
    {
      std::scoped_lock lock(mutex_);
      queue_.push_back(std::move(batch));
    }
    changed_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    while (!queue_.empty()) {
      changed_.wait_for(lock, std::chrono::milliseconds(20));
      if (queue_.empty()) return;
      lock.unlock();
      poll_interrupt();
      lock.lock();
    }
  }

 private:
  void loop() {
    for (std::unique_lock lock(mutex_);;) {
      changed_.wait(lock, [&] { return !queue_.empty(); });
      std::shared_ptr<Batch> batch = queue_.front();
      lock.unlock();
      batch->run(/*detached=*/true);
      batch.reset();
      lock.lock();
      queue_.pop_front();
      changed_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Batch>> queue_;  // the front one is running
};

struct Workers {
  std::mutex mutex;
  std::map<int, Worker*> by_stream;
};
Workers& workers() {
  static Workers* const w = new Workers;  // its threads run until the process ends
  return *w;
}

bool is_done(const array& a) { return a.is_available(); }

Worker& worker_of(Stream s) {
  std::scoped_lock lock(workers().mutex);
  Worker*& w = workers().by_stream[s.index];
  try {
    if (!w) w = new Worker;
  } catch (const std::system_error& e) {
    throw std::runtime_error(std::string("async_eval: no thread for the stream: ") + e.what());
  }
  return *w;
}

}  // namespace

void wait_for_streams() {
  std::vector<Worker*> all;  // a batch has steps of several streams, and runs on one thread
  {
    std::scoped_lock lock(workers().mutex);
    for (const auto& [stream, worker] : workers().by_stream) all.push_back(worker);
  }
  for (Worker* worker : all) worker->wait();
}

void eval(const Arrays& arrays) {
  while (!std::all_of(arrays.begin(), arrays.end(), is_done)) {
    std::shared_ptr<Batch> batch;
    {
      std::scoped_lock lock(graph_mutex());
      batch = Batch::make(arrays);
    }
    if (batch)
      if (auto error = batch->run(/*detached=*/false)) std::rethrow_exception(error);
    for (const array& a : arrays) {
      std::shared_ptr<Batch> other;
      {
        std::scoped_lock lock(graph_mutex());
        const Status status = a.node()->status.load(std::memory_order_acquire);
        if (status != Status::lazy && status != Status::available) other = a.node()->batch;
      }
      if (!other) continue;
      other->wait();
      if (a.node()->status.load(std::memory_order_acquire) == Status::failed)
        std::rethrow_exception(other->error_of(a.node()));
    }
  }
}

void async_eval(const Arrays& arrays) {
  if (std::all_of(arrays.begin(), arrays.end(), is_done)) return;
  // A stream's queue has the order of scheduling: a batch waits only for earlier ones.
  std::scoped_lock lock(graph_mutex());
  Worker& worker = worker_of(arrays[0].stream());
  const auto batch = Batch::make(arrays);
  if (!batch) return;
  try {
    worker.push(batch);
  } catch (...) {
    batch->abandon(std::current_exception());
    throw;
  }
}

std::string explain(const Arrays& arrays) {
  std::scoped_lock lock(graph_mutex());
  const Tape tape = record(arrays, limits_of);
  return to_string(*plan_of(tape, limits_of), tape);
}

PlanCounts plan_counts() {
  std::scoped_lock lock(graph_mutex());
  return counts_of_plans();
}

void context::evaluate(const Arrays& arrays) { eval(arrays); }
void context::check_interrupt() { poll_interrupt(); }

}  // namespace cermet
