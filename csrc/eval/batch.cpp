// Running batches: on the calling thread, or on the thread of a stream.
#include "eval/batch.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <deque>
#include <map>
#include <thread>

#include "cermet/eval.h"
#include "cermet/memory.h"
#include "cpu/backend.h"
#include "cpu/parallel.h"
#include "cpu/row_program.h"
#include "eval/views.h"
#include "graph/primitive.h"

namespace cermet {

std::mutex& graph_mutex() {
  static std::mutex* const mutex = new std::mutex;  // arrays may outlive static objects
  return *mutex;
}

std::shared_ptr<Batch> Batch::make(Schedule schedule) {
  auto batch = std::make_shared<Batch>();
  batch->steps_ = std::move(schedule.steps);
  batch->dependencies_ = std::move(schedule.dependencies);
  for (Step& step : batch->steps_)
    for (Node* n : step.outputs) {
      n->batch = batch;
      n->status.store(Status::scheduled, std::memory_order_release);
    }
  return batch;
}

std::exception_ptr Batch::error_of(const Node* node) {
  std::scoped_lock lock(mutex_);
  for (const auto& [n, error] : errors_)
    if (n == node) return error;
  return std::make_exception_ptr(std::runtime_error("eval: the computation failed"));
}

void Batch::wait() {
  std::unique_lock lock(mutex_);
  while (!finished_) {
    done_.wait_for(lock, std::chrono::milliseconds(20));
    if (finished_) return;
    lock.unlock();
    cpu::poll_interrupt();
    lock.lock();
  }
}

std::exception_ptr Batch::run(bool detached) {
  std::exception_ptr first;
  std::size_t next = 0;
  try {
    for (auto& d : dependencies_) d->wait();
    for (; next < steps_.size(); ++next) {
      Step& step = steps_[next];
      cpu::poll_interrupt();
      try {
        std::exception_ptr inherited = inherited_error(step);
        if (inherited) std::rethrow_exception(inherited);
        run_step(step);
        complete(step);
      } catch (const Interrupted&) {
        throw;
      } catch (const OutOfMemory&) {
        if (!first) first = std::current_exception();
        fail(step, std::current_exception(), !detached);
      } catch (...) {
        if (!first) first = std::current_exception();
        fail(step, std::current_exception(), false);
      }
    }
  } catch (...) {  // interrupted: what is left can be asked for again
    first = std::current_exception();
    for (; next < steps_.size(); ++next) fail(steps_[next], first, true);
  }
  dependencies_.clear();
  steps_.clear();
  {
    std::scoped_lock lock(mutex_);
    finished_ = true;
  }
  done_.notify_all();
  return first;
}

std::exception_ptr Batch::inherited_error(const Step& step) {
  const auto error = [&](const array& in) -> std::exception_ptr {
    Node* n = in.node();
    switch (n->status.load(std::memory_order_acquire)) {
      case Status::available: return nullptr;
      case Status::failed: return n->batch->error_of(n);
      default:
        if (n->constant) return nullptr;
        return std::make_exception_ptr(
            OutOfMemory("eval: an input could not be computed for lack of memory"));
    }
  };
  if (step.program) {
    for (const ProgramInput& in : step.program->inputs)
      if (auto e = error(in.source)) return e;
  } else {
    for (const array& in : step.members[0].node->inputs)
      if (auto e = error(in)) return e;
  }
  return nullptr;
}

namespace {

// Whether a step that alone refers to an input may write its result over it.
bool can_donate(const array& in, std::uint32_t references) {
  const Node& n = *in.node();
  return !n.constant && n.refs() == references && n.buffer->refs() == 1 && !n.buffer->borrowed();
}

cpu::Tensor tensor(Node& n) {
  return {static_cast<std::byte*>(n.buffer->data()) + n.offset * size_of(n.dtype), n.dtype, n.shape,
          n.strides};
}

void fill(Node& out, std::uint64_t bits) {
  const std::size_t size = size_of(out.dtype);
  auto* p = static_cast<std::byte*>(out.buffer->data());
  for (std::int64_t i = 0; i < out.size; ++i) std::memcpy(p + i * size, &bits, size);
}

bool is_dense_column_major(const Node& n) {
  std::int64_t expected = 1;
  for (std::size_t i = 0; i < n.shape.size(); ++i) {
    if (n.shape[i] != 1 && n.strides[i] != expected) return false;
    expected *= n.shape[i];
  }
  return true;
}

void run_primitive(Node& out, bool retain) {
  const Primitive& p = *out.primitive;
  switch (p.kind()) {
    case Kind::constant: materialize(out, out); return;
    case Kind::reduce: {  // of nothing
      const ReduceOp op = static_cast<const Reduce&>(p).op;
      const bool one = op == ReduceOp::prod || op == ReduceOp::all;
      allocate_value(out);
      fill(out, array(static_cast<std::int64_t>(one), out.dtype).node()->scalar);
      return;
    }
    case Kind::custom:
      out.outputs = static_cast<const Custom&>(p).run({out.inputs.data(), out.inputs.size()});
      allocate_value(out);
      return;
    default: break;
  }
  std::vector<cpu::Tensor> inputs;
  std::vector<Node> constants(out.inputs.size());
  for (std::size_t i = 0; i < out.inputs.size(); ++i) {
    Node* n = out.inputs[i].node();
    if (n->constant) {
      constants[i].dtype = n->dtype;
      constants[i].size = 1;
      materialize(*n, constants[i]);
      n = &constants[i];
    }
    inputs.push_back(tensor(*n));
  }
  const bool overwrites = p.kind() == Kind::scatter || p.kind() == Kind::slice_update;
  if (overwrites || p.kind() == Kind::contiguous) {
    Node& in = *out.inputs[0].node();
    const bool row_major_input = !in.constant && in.strides == row_major(in.shape);
    if (p.kind() == Kind::contiguous && !in.constant &&
        (row_major_input ||
         (static_cast<const Contiguous&>(p).allow_col_major && is_dense_column_major(in)))) {
      out.buffer = in.buffer;
      out.strides = in.strides;
      out.offset = in.offset;
      return;
    }
    if (overwrites && !retain && row_major_input && can_donate(out.inputs[0], 1)) {
      out.buffer = in.buffer;
      out.strides = in.strides;
      out.offset = in.offset;
      cpu::Uninterrupted guard;
      cpu::run(p, inputs, tensor(out));
      return;
    }
  }
  allocate_value(out);
  if (out.size) cpu::run(p, inputs, tensor(out));
}

}  // namespace

void Batch::run_step(Step& step) {
  try {
    switch (step.kind) {
      case Step::Kind::view: make_view(*step.outputs[0]); break;
      case Step::Kind::primitive: run_primitive(*step.outputs[0], step.members[0].retain); break;
      case Step::Kind::program: {
        bool retain = false;
        for (const auto& m : step.members) retain |= m.retain;
        std::vector<bool> donatable;
        for (const ProgramInput& in : step.program->inputs)
          donatable.push_back(!retain && can_donate(in.source, in.references + 1));
        cpu::run(*step.program, donatable);
      }
    }
  } catch (const OutOfMemory& e) {
    throw OutOfMemory(std::string(step.outputs[0]->primitive->name()) + ": " + e.what());
  }
}

void Batch::complete(Step& step) {
  step.program.reset();
  // The graph goes before the value is announced: from then on other threads may read the node.
  SmallVector<array, 2> dropped;
  for (auto& m : step.members)
    if (!m.retain) {
      if (!m.node->constant) m.node->primitive = {};
      dropped = std::move(m.node->inputs);
      m.node->inputs.clear();
    }
  for (Node* n : step.outputs) n->status.store(Status::available, std::memory_order_release);
  step.members.clear();
}

void Batch::fail(Step& step, std::exception_ptr error, bool retry) {
  if (!retry) {
    std::scoped_lock lock(mutex_);
    for (Node* n : step.outputs) errors_.emplace_back(n, error);
  }
  step.program.reset();
  for (Node* n : step.outputs) {
    n->buffer = {};
    n->status.store(retry ? Status::lazy : Status::failed, std::memory_order_release);
  }
  step.members.clear();
}

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
      cpu::poll_interrupt();
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

// The caller holds graph_mutex().
std::shared_ptr<Batch> make_batch(const Arrays& arrays) {
  Schedule s = schedule(arrays);
  if (s.steps.empty()) return nullptr;
  return Batch::make(std::move(s));
}

bool is_done(const array& a) { return a.is_available(); }

Worker& worker_of(Stream s) {
  std::scoped_lock lock(workers().mutex);
  Worker*& w = workers().by_stream[s.index];
  if (!w) w = new Worker;
  return *w;
}

}  // namespace

void wait_for_stream(Stream s) {
  Worker* worker = nullptr;
  {
    std::scoped_lock lock(workers().mutex);
    if (const auto it = workers().by_stream.find(s.index); it != workers().by_stream.end())
      worker = it->second;
  }
  if (worker) worker->wait();
}

void eval(const Arrays& arrays) {
  while (!std::all_of(arrays.begin(), arrays.end(), is_done)) {
    std::shared_ptr<Batch> batch;
    {
      std::scoped_lock lock(graph_mutex());
      batch = make_batch(arrays);
    }
    if (batch)
      if (auto error = batch->run(/*detached=*/false)) std::rethrow_exception(error);
    for (const array& a : arrays) {
      std::shared_ptr<Batch> other;
      {
        std::scoped_lock lock(graph_mutex());
        const Status status = a.node()->status.load(std::memory_order_acquire);
        if (status == Status::scheduled || status == Status::failed) other = a.node()->batch;
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
  if (auto batch = make_batch(arrays)) worker_of(arrays[0].stream()).push(std::move(batch));
}

}  // namespace cermet
