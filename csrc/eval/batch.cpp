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
#include "metal/program.h"
#include "metal/work.h"

namespace cermet {

std::mutex& graph_mutex() {
  static std::mutex* const mutex = new std::mutex;  // arrays may outlive static objects
  return *mutex;
}

namespace {

// Calls visit(array) for everything a step reads.
template <class F>
void for_each_input(const Step& step, F visit) {
  if (step.program) {
    for (const ProgramInput& in : step.program->inputs) visit(in.source);
  } else {
    for (const array& in : step.members[0].node->inputs) visit(in);
  }
}

// Whether a tracer keeps a part of the step's graph, so that its inputs stay.
bool retains(const Step& step) {
  return std::any_of(step.members.begin(), step.members.end(),
                     [](const auto& m) { return m.retain; });
}

bool is_float64(const Node& n) { return n.dtype == float64; }

// Whether a step is the GPU's; what it has no kernel for runs on the CPU, on the same memory.
bool runs_on_gpu(const Step& step) {
  if (step.stream.device.type != DeviceType::gpu) return false;
  const Node& node = *step.outputs[0];
  switch (step.kind) {
    case Step::Kind::program: return metal::supports(*step.program);
    case Step::Kind::view: return !is_float64(node) && !is_float64(*node.inputs[0].node());
    case Step::Kind::primitive: return metal::supports(node);
  }
  return false;
}

}  // namespace

Batch::Batch() = default;
Batch::~Batch() = default;

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
        const bool gpu = runs_on_gpu(step);
        if (!gpu && reads_encoded(step))
          if (auto error = finish_encoded(); error && !first) first = error;
        std::exception_ptr inherited = inherited_error(step);
        if (inherited) std::rethrow_exception(inherited);
        if (gpu) {
          if (!encode_addmm(next))
            encode(next);
          else
            ++next;
        } else {
          run_step(step);
          complete(step);
        }
      } catch (const Interrupted&) {
        throw;
      } catch (const OutOfMemory& e) {
        if (!encoded_.empty()) {  // work in flight holds memory: once more without it
          if (auto error = finish_encoded(); error && !first) first = error;
          for (Node* n : step.outputs) n->buffer = {};
          --next;
          continue;
        }
        const auto named = std::make_exception_ptr(
            OutOfMemory(std::string(step.outputs[0]->primitive->name()) + ": " + e.what()));
        if (!first) first = named;
        fail(step, named, !detached);
      } catch (...) {
        if (!first) first = std::current_exception();
        fail(step, std::current_exception(), false);
      }
    }
    if (auto error = finish_encoded(); error && !first) first = error;
  } catch (...) {  // interrupted: what is left can be asked for again
    first = std::current_exception();
    finish_encoded();
    for (; next < steps_.size(); ++next) fail(steps_[next], first, true);
  }
  dependencies_.clear();
  steps_.clear();
  work_.clear();
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
      case Status::available:
      case Status::encoded: return nullptr;
      case Status::failed: return n->batch->error_of(n);
      default:
        if (n->constant) return nullptr;
        return std::make_exception_ptr(
            OutOfMemory("eval: an input could not be computed for lack of memory"));
    }
  };
  std::exception_ptr first;
  for_each_input(step, [&](const array& in) {
    if (!first) first = error(in);
  });
  return first;
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

// What a primitive reads; `constants` gives those that are constants a value in memory.
std::vector<Node*> nodes_read(const Node& out, std::vector<Node>& constants) {
  std::vector<Node*> nodes;
  for (std::size_t i = 0; i < out.inputs.size(); ++i) {
    Node* n = out.inputs[i].node();
    if (n->constant) {
      constants[i].dtype = n->dtype;
      constants[i].size = 1;
      materialize(*n, constants[i]);
      n = &constants[i];
    }
    nodes.push_back(n);
  }
  return nodes;
}

// What a primitive's result may share with its first input.
enum class Layout : std::uint8_t {
  fresh,        // nothing
  same,         // everything: it is that input
  overwritten,  // the memory, which it updates in place
};
template <class CanDonate>
Layout shared_layout(const Node& out, bool retain, CanDonate can_donate) {
  const Kind kind = out.primitive->kind();
  const bool overwrites = kind == Kind::scatter || kind == Kind::slice_update;
  if (!overwrites && kind != Kind::contiguous) return Layout::fresh;
  const Node& in = *out.inputs[0].node();
  const bool row_major_input = !in.constant && in.strides == row_major(in.shape);
  if (overwrites)
    return !retain && row_major_input && can_donate(out.inputs[0]) ? Layout::overwritten
                                                                   : Layout::fresh;
  const bool allow_col_major = static_cast<const Contiguous&>(*out.primitive).allow_col_major;
  return !in.constant && (row_major_input || (allow_col_major && is_dense_column_major(in)))
             ? Layout::same
             : Layout::fresh;
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
  for (Node* n : nodes_read(out, constants)) inputs.push_back(tensor(*n));
  if (p.kind() == Kind::factorization) {
    const auto& factorization = static_cast<const Factorization&>(p);
    Arrays results;
    std::vector<cpu::Tensor> outputs;
    for (const auto& [shape, dtype] : factorization.results(inputs[0].shape)) {
      const auto bytes = static_cast<std::size_t>(element_count(shape)) * size_of(dtype);
      results.emplace_back(allocate(bytes), shape, dtype, row_major(shape));
      outputs.push_back(tensor(*results.back().node()));
    }
    cpu::factorize(factorization, inputs, outputs);
    out.outputs = std::move(results);
    allocate_value(out);
    return;
  }
  const Layout layout =
      shared_layout(out, retain, [](const array& in) { return can_donate(in, 1); });
  if (layout != Layout::fresh) {
    const Node& in = *out.inputs[0].node();
    out.buffer = in.buffer;
    out.strides = in.strides;
    out.offset = in.offset;
    if (layout == Layout::same) return;
    cpu::Uninterrupted guard;
    cpu::run(p, inputs, tensor(out));
    return;
  }
  allocate_value(out);
  if (out.size) cpu::run(p, inputs, tensor(out));
}

}  // namespace

void Batch::run_step(Step& step) {
  switch (step.kind) {
    case Step::Kind::view: make_view(*step.outputs[0], copy_value); break;
    case Step::Kind::primitive: run_primitive(*step.outputs[0], step.members[0].retain); break;
    case Step::Kind::program: {
      std::vector<bool> donatable;
      for (const ProgramInput& in : step.program->inputs)
        donatable.push_back(!retains(step) && can_donate(in.source, in.references + 1));
      cpu::run(*step.program, donatable);
    }
  }
}

void Batch::complete(Step& step) {
  drop_graph(step);
  for (Node* n : step.outputs) n->status.store(Status::available, std::memory_order_release);
  step.members.clear();
}

void Batch::drop_graph(Step& step) {
  step.program.reset();
  // The graph goes before the value is announced: from then on other threads may read the node.
  SmallVector<array, 2> dropped;
  for (auto& m : step.members)
    if (!m.retain) {
      if (!m.node->constant) m.node->primitive = {};
      dropped = std::move(m.node->inputs);
      m.node->inputs.clear();
    }
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

// ---- The GPU ------------------------------------------------------------------------------------

metal::Work& Batch::work(Stream stream) {
  auto& entry = work_[stream.index];
  if (!entry) entry = std::make_unique<metal::Work>(stream);
  return *entry;
}

bool Batch::reads_encoded(const Step& step) const {
  bool reads = false;
  for_each_input(step, [&](const array& in) {
    reads |= in.node()->status.load(std::memory_order_acquire) == Status::encoded;
  });
  return reads;
}

namespace {

metal::Tensor gpu_tensor(const Node& n) {
  return {n.buffer, static_cast<std::size_t>(n.offset) * size_of(n.dtype), n.dtype, n.shape,
          n.strides};
}

// As can_donate; `pending` counts the batch's own reference to a result in flight.
bool can_donate(const array& in, std::uint32_t references, const metal::Work& work) {
  const Node& n = *in.node();
  const bool pending = n.status.load(std::memory_order_acquire) == Status::encoded;
  return !n.constant && n.refs() == references + pending &&
         n.buffer->refs() == 1u + work.holds(*n.buffer) && !n.buffer->borrowed();
}

void encode_primitive(Node& out, bool retain, metal::Work& work) {
  const Primitive& p = *out.primitive;
  std::vector<metal::Tensor> inputs;
  std::vector<Node> constants(out.inputs.size());
  for (Node* n : nodes_read(out, constants)) inputs.push_back(gpu_tensor(*n));
  if (p.kind() == Kind::custom) {
    out.outputs = metal::run(work, static_cast<const GpuKernel&>(p), inputs);
    out.buffer = out.outputs[0].node()->buffer;
    return;
  }
  out.offset = 0;
  out.strides = row_major(out.shape);
  if (const Layout layout =
          shared_layout(out, retain, [&](const array& in) { return can_donate(in, 1, work); });
      layout != Layout::fresh) {
    const Node& in = *out.inputs[0].node();
    out.buffer = in.buffer;
    out.strides = in.strides;
    out.offset = in.offset;
    if (layout == Layout::same) return;
  } else {
    out.buffer = work.allocate(static_cast<std::size_t>(out.size) * size_of(out.dtype));
  }
  if (out.size) metal::run(work, p, inputs, gpu_tensor(out));
}

}  // namespace

void Batch::encode(std::size_t index) {
  Step& step = steps_[index];
  metal::Work& mine = work(step.stream);
  mine.begin(index);
  const std::vector<const Node*> read = note_inputs(index);
  Node& first = *step.outputs[0];
  switch (step.kind) {
    case Step::Kind::view:
      make_view(first, [&](const Node& from, Node& to) {
        to.buffer = mine.allocate(static_cast<std::size_t>(from.size) * size_of(from.dtype));
        to.offset = 0;
        const metal::Tensor out{to.buffer, 0, from.dtype, from.shape, row_major(from.shape)};
        metal::copy(mine, gpu_tensor(from), out);
      });
      break;
    case Step::Kind::primitive: encode_primitive(first, step.members[0].retain, mine); break;
    case Step::Kind::program: {
      std::vector<bool> donatable;
      for (const ProgramInput& in : step.program->inputs)
        donatable.push_back(!retains(step) && can_donate(in.source, in.references + 1, mine));
      metal::run(mine, *step.program, donatable);
    }
  }
  note_outputs(index, read);
}

bool Batch::encode_addmm(std::size_t index) {
  Step& step = steps_[index];
  Node& product = *step.outputs[0];
  if (step.kind != Step::Kind::primitive || product.primitive->kind() != Kind::matmul ||
      product.size == 0 || index + 1 == steps_.size() || retains(step))
    return false;
  Step& next = steps_[index + 1];
  if (next.kind != Step::Kind::program || next.stream != step.stream || retains(next) ||
      !runs_on_gpu(next))
    return false;
  const auto form = metal::as_addmm(*next.program, product);
  // Nobody else may want the product: it is held by its step, the program and its consumers.
  if (!form || product.refs() != form->references + 2) return false;
  const Node& addend = *next.program->inputs[form->addend].source.node();
  const Status status = addend.status.load(std::memory_order_acquire);
  if (addend.constant || (status != Status::available && status != Status::encoded)) return false;
  metal::Work& mine = work(step.stream);
  mine.begin(index + 1);
  const std::vector<const Node*> factors = note_inputs(index);
  const std::vector<const Node*> addends = note_inputs(index + 1);
  uses_[index + 1].insert(uses_[index + 1].end(), uses_[index].begin(), uses_[index].end());
  metal::addmm(mine, *next.program, *form, product);
  note_outputs(index, factors);
  note_outputs(index + 1, addends);
  return true;
}

std::vector<const Node*> Batch::note_inputs(std::size_t index) {
  const Step& step = steps_[index];
  std::vector<const Node*> read;
  for_each_input(step, [&](const array& in) {
    const auto it = encoded_.find(in.node());
    if (it == encoded_.end()) return;
    read.push_back(in.node());
    uses_[index].push_back(it->second.step);
    if (const Stream other = in.stream(); other != step.stream)
      work(step.stream).wait_for(work(other).point());
  });
  return read;
}

void Batch::note_outputs(std::size_t index, const std::vector<const Node*>& read) {
  Step& step = steps_[index];
  for (Node* n : step.outputs) {
    encoded_.emplace(n, Encoded{Ref<Node>(n), index});
    n->status.store(Status::encoded, std::memory_order_release);
  }
  uses_[index];
  drop_graph(step);
  step.members.clear();
  // What nobody can read any more gives its memory to later steps.
  for (const Node* n : read)
    if (const auto it = encoded_.find(n); it != encoded_.end() && n->refs() == 1)
      encoded_.erase(it);
}

std::exception_ptr Batch::finish_encoded() {
  std::map<std::size_t, std::exception_ptr> errors;
  for (auto& [stream, work] : work_)
    for (const auto& [step, error] : work->finish()) errors.try_emplace(step, error);
  for (const auto& [step, read] : uses_)
    for (const std::size_t r : read)
      if (const auto it = errors.find(r); it != errors.end()) errors.try_emplace(step, it->second);
  for (auto& [node, e] : encoded_) {
    const auto it = errors.find(e.step);
    if (it == errors.end()) {
      e.node->status.store(Status::available, std::memory_order_release);
      continue;
    }
    {
      std::scoped_lock lock(mutex_);
      errors_.emplace_back(node, it->second);
    }
    e.node->buffer = {};
    e.node->status.store(Status::failed, std::memory_order_release);
  }
  encoded_.clear();
  uses_.clear();
  return errors.empty() ? nullptr : errors.begin()->second;
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

void wait_for_stream(Stream) {
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
      batch = make_batch(arrays);
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
  if (auto batch = make_batch(arrays)) worker_of(arrays[0].stream()).push(std::move(batch));
}

}  // namespace cermet
