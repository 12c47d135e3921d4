// Running batches: the way of steps from scheduled to available or failed.
#include "eval/batch.h"

#include <algorithm>
#include <chrono>
#include <new>
#include <system_error>

#include "cermet/eval.h"
#include "cermet/memory.h"
#include "graph/primitive.h"

namespace cermet {

namespace {

// Under graph_mutex().
std::shared_ptr<Batch>& spare() {
  static auto* const it = new std::shared_ptr<Batch>;  // arrays may outlive static objects
  return *it;
}

// Batches whose work is under way, under Lock::batches.
std::unordered_set<std::shared_ptr<Batch>>& flights() {
  static auto* all = new std::unordered_set<std::shared_ptr<Batch>>;
  static int generation = process_generation();
  if (generation != process_generation()) {  // they are the parent's
    all = new std::unordered_set<std::shared_ptr<Batch>>;
    generation = process_generation();
  }
  return *all;
}

// An input has gone back to being lazy: then so does the result.
struct NotComputed {};

}  // namespace

const Limits& limits_of(Stream stream) { return backend_of(stream.device).limits(); }

std::shared_ptr<Batch> Batch::make(const Arrays& arrays) {
  Tape& tape = record_folded(arrays, limits_of);
  std::shared_ptr<const Plan> plan;
  const auto unfolded = tape.is_folded() ? find_unfolded(tape) : nullptr;
  if (unfolded && unfolded->plan) {
    plan = unfolded->plan;
  } else if (unfolded || !tape.is_folded()) {
    plan = plan_of(tape, limits_of);
  } else {
    auto primitives = primitives_of(tape);
    Tape folded = tape;
    record_unfolded(arrays, limits_of, folded);  // which is the tape now
    plan = plan_of(tape, limits_of);
    keep_unfolded(folded, std::move(primitives), tape, plan);
  }
  if (plan->steps.empty()) return nullptr;
  std::shared_ptr<Batch> batch = std::exchange(spare(), nullptr);
  if (!batch || batch->generation_ != process_generation()) batch = std::make_shared<Batch>();
  batch->plan_ = std::move(plan);
  for (const Node* n : tape.pending)
    if (std::find(batch->dependencies_.begin(), batch->dependencies_.end(), n->batch) ==
        batch->dependencies_.end())
      batch->dependencies_.push_back(n->batch);
  if (unfolded && unfolded->plan)
    batch->stand_in(tape, unfolded, arrays);
  else
    batch->adopt(tape);
  batch->find_overwrites();
  return batch;
}

void Batch::keep(std::shared_ptr<Batch>& batch) {
  constexpr std::size_t kMost = 1 << 14;  // nodes
  if (batch.use_count() > 1 || batch->first_ || !batch->errors_.empty()) return;
  if (batch->nodes_.capacity() > kMost) return;
  batch->finished_ = batch->encoded_ = false;
  spare() = std::move(batch);
}

void Batch::find_overwrites() {
  for (const auto& [whole, base] : plan_->bases)
    if (may_overwrite(base, whole, nodes_.data())) free_to_overwrite_.insert(whole);
}

void Batch::adopt(const Tape& tape) {
  constants_.clear();
  for (const Node* c : tape.constants) constants_.push_back(c->scalar);
  held_.resize(tape.nodes.size());
  std::uint8_t flags = 0;
  for (Slot s = 0; s < tape.nodes.size(); ++s) {
    flags |= tape.flags[s];
    if (tape.is(s, Tape::held)) held_[s] = Ref<Node>(tape.nodes[s]);
  }
  for (Node* n : tape.pending)
    if (n->slot < tape.nodes.size() && tape.nodes[n->slot] == n)
      awaited_.push_back({n->slot, Ref<Node>(n), tape.uses[n->slot]});
  nodes_ = tape.nodes;
  flags_ = tape.flags;
  if (flags & Tape::traced) keep_traced();
  for (const Step& step : plan_->steps)
    for (const Slot s : step.outputs) schedule(node(s));
}

void Batch::schedule(Node& node) {
  node.batch = shared_from_this();
  node.status.store(Status::scheduled, std::memory_order_release);
}

std::exception_ptr Batch::error_of(const Node* node) {
  std::scoped_lock lock(mutex_of(Lock::batches));
  if (const auto it = errors_.find(node); it != errors_.end()) return it->second;
  return std::make_exception_ptr(std::runtime_error("eval: the computation failed"));
}

bool Batch::waits_below() const {
  for (const Evaluation* e = Evaluation::innermost(); e; e = e->outer)
    for (const auto& d : dependencies_)
      if (&e->batch == d.get() && !d->encoded_) return true;
  return false;
}

void Batch::wait(const Batch* asking, bool encoded) {
  // What is in flight needs nobody.
  for (Evaluation* e = encoded_ ? nullptr : Evaluation::innermost(); e; e = e->outer)
    if (&e->batch != asking && !e->batch.encoded_ && !std::exchange(e->withdrawn, true))
      e->batch.withdraw();
  while (!finished_ && !(encoded && encoded_)) {
    if (generation_ != process_generation())
      throw std::runtime_error(
          "eval: the array was being computed by another thread when this process was forked from "
          "its parent; evaluate before the fork, or after it");
    if (encoded_) {
      finish();
      continue;
    }
    {
      std::unique_lock lock(mutex_of(Lock::batches));
      if (!finished_ && !encoded_) done_.wait_for(lock, std::chrono::milliseconds(20));
    }
    if (!finished_) poll_interrupt();
  }
}

std::exception_ptr Batch::run() {
  Evaluation evaluation(*this);
  give_out();
  try {
    finish();
  } catch (...) {  // what was given out goes on without this thread
    finish_later(shared_from_this());
    return evaluation.withdrawn ? nullptr : std::current_exception();
  }
  return evaluation.withdrawn ? nullptr : first_;
}

bool Batch::run_ahead() {
  const Evaluation evaluation(*this);
  give_out();
  return finished_;
}

void Batch::give_out() {
  const std::vector<Step>& steps = plan_->steps;
  int tries = 0;
  try {
    for (auto& d : dependencies_) d->wait(this, /*encoded=*/true);
    take_up();
    for (; next_ < steps.size(); ++next_) {
      const Step& step = steps[next_];
      poll_interrupt();
      std::exception_ptr lacking;  // memory
      try {
        check_inputs(step);
        run_step(step);
        continue;
      } catch (const Interrupted&) {
        throw;
      } catch (const NotComputed&) {
        fail(step, nullptr, !unfolded_ || unfold(next_));
        continue;
      } catch (const OutOfMemory& e) {
        lacking = std::make_exception_ptr(
            OutOfMemory(std::string(node(step.outputs[0]).primitive->name()) + ": " + e.what()));
      } catch (const std::bad_alloc&) {
        lacking = std::make_exception_ptr(
            OutOfMemory(std::string(node(step.outputs[0]).primitive->name()) +
                        ": the system has no more memory"));
      } catch (const std::system_error&) {  // a file, say: nothing is wrong with the array
        if (!first_) first_ = std::current_exception();
        fail(step, std::current_exception(), !unfolded_ || unfold(next_));
        continue;
      } catch (...) {
        if (!first_) first_ = std::current_exception();
        fail(step, std::current_exception(), false);
        continue;
      }
      for (const Slot s : step.outputs) {
        node(s).buffer = {};
        results_.erase(&node(s));
      }
      // Work under way holds memory: once more without it.
      const bool mine = !results_.empty();
      if (mine) settle();
      if (mine || (++tries <= 3 && wait_for_flights(this))) {
        --next_;
        continue;
      }
      if (!first_) first_ = lacking;
      fail(step, lacking, !unfolded_ || unfold(next_));
    }
  } catch (...) {
    if (!finished_) stop(std::current_exception());
  }
  if (!finished_)
    leave();
  else
    clear();
}

void Batch::leave() {
  for (auto& [where, queue] : queues_) queue->submit();
  std::shared_ptr<InFlight> flight;
  try {
    if (!under_way_.empty()) {
      flight = std::make_shared<InFlight>();
      const std::scoped_lock lock(mutex_of(Lock::batches));
      flights().insert(shared_from_this());
    }
  } catch (const std::bad_alloc&) {  // then it is waited for here
    flight = nullptr;
    const Uninterrupted now;
    settle();
  }
  hand_over();
  if (!flight) {
    clear();  // so that who waits finds nothing held
    return tell();
  }
  flight->steps.swap(under_way_);
  flight->dependencies.swap(dependencies_);
  auto queues = std::exchange(queues_, {});
  clear();
  std::erase_if(results_, [](const auto& entry) { return entry.second.node->refs() == 1; });
  add_background(1);
  {
    const std::scoped_lock lock(mutex_of(Lock::batches));
    queues_.swap(queues);
    in_flight_ = std::move(flight);
    encoded_ = true;
  }
  done_.notify_all();
}

void Batch::finish() {
  std::shared_ptr<const InFlight> flight;
  {
    const std::scoped_lock lock(mutex_of(Lock::batches));
    flight = in_flight_;
  }
  if (!flight) return;
  for (const auto& d : flight->dependencies) d->wait(this);
  std::exception_ptr first;
  for (const auto& step : flight->steps)
    if (const auto error = settle(*step); !first) first = error;

  std::vector<std::pair<Where, std::unique_ptr<Queue>>> queues;
  std::unordered_map<const Node*, Result> results;
  {
    std::unique_lock lock(mutex_of(Lock::batches));
    if (!in_flight_) {  // another thread was first
      done_.wait(lock, [&] { return finished_.load(); });
      return;
    }
    in_flight_ = nullptr;
    queues.swap(queues_);
    if (!first_) first_ = first;
  }
  queues.clear();  // so that who waits finds nothing held
  {
    const std::scoped_lock lock(mutex_of(Lock::batches));
    for (auto& [n, result] : results_) {
      if (!result.own) continue;
      const auto& error = result.step->error;
      if (error) add_error(*n, error);  // its memory may be an argument of others' work
      result.node->status.store(error ? Status::failed : Status::available,
                                std::memory_order_release);
    }
    results.swap(results_);
  }
  results.clear();
  flight = nullptr;
  {
    const std::scoped_lock lock(mutex_of(Lock::batches));
    finished_ = true;
    flights().erase(shared_from_this());
  }
  done_.notify_all();
  add_background(-1);
}

bool wait_for_flights(const Batch* asking) {
  std::vector<std::shared_ptr<Batch>> all;
  {
    const std::scoped_lock lock(mutex_of(Lock::batches));
    all.assign(flights().begin(), flights().end());
  }
  for (const auto& batch : all) batch->wait(asking);
  return !all.empty();
}

void Batch::stop(const std::exception_ptr& why) {
  first_ = why;
  try {
    settle();
  } catch (...) {  // then what was under way has no value, and no graph to compute it from
    for (auto& [n, result] : results_) note_error(*result.node, first_);
    results_.clear();
  }
  bool retry = !unfolded_;
  try {
    retry = retry || unfold(next_);
  } catch (const std::bad_alloc&) {  // then the arrays carry the error
  }
  for (std::size_t i = next_; i < plan_->steps.size(); ++i) fail(plan_->steps[i], why, retry);
}

void Batch::withdraw() {
  const auto keep = [this](Node& n) {
    in_use_.nodes.emplace_back(&n);
    in_use_.buffers.push_back(n.buffer);
    in_use_.primitives.push_back(n.primitive);
  };
  if (next_ < plan_->steps.size()) {
    const Step& step = plan_->steps[next_];
    for_each_input(step, keep);
    for (const Step::Product& p : step.products) keep(node(p.slot));
    for (const Slot s : step.outputs) keep(node(s));
  }
  stop(std::make_exception_ptr(Interrupted()));
  publish();
}

void Batch::abandon() {
  for (const Step& step : plan_->steps) fail(step, nullptr, true);
  publish();
  clear();
}

void Batch::publish() {
  hand_over();
  tell();
}

void Batch::tell() {
  {
    std::scoped_lock lock(mutex_of(Lock::batches));
    finished_ = encoded_ = true;
  }
  done_.notify_all();
}

void Batch::clear() {
  wanted_.clear();
  asked_.clear();
  dependencies_.clear();
  awaited_.clear();
  // A host's queue has nothing under way, and serves the next batch.
  if (queues_.size() != 1 || !queues_[0].first.first->is_host()) queues_.clear();
  next_ = 0;
  nodes_.clear();
  flags_.clear();
  constants_.clear();
  held_.clear();
  traced_ = false;
  if (!begun_.empty()) begun_.clear();
  if (!free_to_overwrite_.empty()) free_to_overwrite_.clear();
  in_use_ = {};
  plan_.reset();
  unfolded_.reset();
}

void Batch::check_inputs(const Step& step) const {
  for_each_input(step, [&](const Node& n) {
    switch (n.status.load(std::memory_order_acquire)) {
      case Status::available:
      case Status::encoded: return;
      case Status::failed: std::rethrow_exception(n.batch->error_of(&n));
      default: throw NotComputed();
    }
  });
}

// ---- Where steps run ----

Queue& Batch::prepare(const Step& step, Backend& backend) {
  const std::pair key(&backend, step.stream);
  auto entry = std::find_if(queues_.begin(), queues_.end(),
                            [&](const auto& known) { return known.first == key; });
  if (entry == queues_.end()) entry = queues_.insert(entry, {key, backend.queue(step.stream)});
  Queue& queue = *entry->second;
  if (results_.empty()) return queue;
  bool elsewhere = false;
  for_each_input(step, [&](const Node& n) {
    const auto it = results_.find(&n);
    if (it == results_.end() || it->second.where == key) return;
    elsewhere = true;
    if (!backend.is_host()) queue.wait_for(*it->second.step->ticket);
  });
  if (elsewhere && backend.is_host()) {
    settle();
    check_inputs(step);
  }
  return queue;
}

void Batch::finish_step(const Step& step, Queue& queue, std::shared_ptr<Ticket> ticket) {
  std::vector<const Node*> read;
  std::shared_ptr<UnderWay> entry;
  if (ticket) entry = std::make_shared<UnderWay>(UnderWay{ticket, {}});
  if (!results_.empty())
    for_each_input(step, [&](Node& n) {
      const auto it = results_.find(&n);
      if (it == results_.end()) return;
      read.push_back(&n);
      if (!entry) entry = std::make_shared<UnderWay>(UnderWay{it->second.step->ticket, {}});
      entry->reads.push_back(it->second.step);
    });
  const bool under_way = entry != nullptr;
  if (under_way) {
    for (const Slot s : step.outputs)
      results_.emplace(&node(s), Result{Ref<Node>(&node(s)), entry, where(queue)});
    under_way_.push_back(std::move(entry));
  }
  announce(step, under_way ? Status::encoded : Status::available);
  // What nobody can read any more gives its memory to later steps.
  for (const Node* n : read)
    if (const auto it = results_.find(n); it != results_.end() && n->refs() == 1)
      results_.erase(it);
}

void Batch::announce(const Step& step, Status status) {
  // The graph goes before the value is announced: from then on other threads may read the node.
  drop_graph(step);
  for (const Slot s : step.outputs) {
    node(s).status.store(status, std::memory_order_release);
    if (!unfolded_) held_[s] = {};
  }
}

std::exception_ptr Batch::settle(UnderWay& step) {
  const std::shared_ptr<Ticket> ticket = step.ticket;
  const std::exception_ptr error = ticket->wait();
  std::vector<std::shared_ptr<UnderWay>> reads;  // go without the lock
  const std::scoped_lock lock(mutex_of(Lock::batches));
  reads.swap(step.reads);
  if (!step.error) step.error = error;
  for (const auto& r : reads)
    if (!step.error) step.error = r->error;
  return step.error;
}

void Batch::settle() {
  // A handler that is asked meanwhile may have settled, too.
  for (std::size_t i = 0; i < dependencies_.size(); ++i) {
    const auto d = dependencies_[i];
    d->wait(this);
  }
  for (std::size_t i = 0; i < under_way_.size(); ++i) {
    const auto step = under_way_[i];
    const auto error = settle(*step);
    if (!first_) first_ = error;
  }
  const auto tell = [this](Node& n, const std::exception_ptr& error) {
    if (error)
      note_error(n, error);
    else
      n.status.store(Status::available, std::memory_order_release);
  };
  for (const auto& [slot, n] : wanted_)  // what was taken over from another batch
    if (const auto it = results_.find(&node(slot)); it != results_.end() && is(slot, Tape::leaf))
      tell(*n, it->second.step->error);
  for (auto& [n, result] : results_)
    if (result.own) tell(*result.node, result.step->error);
  results_.clear();
  under_way_.clear();
}

Batch::Where Batch::where(const Queue& queue) const {
  return std::find_if(queues_.begin(), queues_.end(),
                      [&](const auto& known) { return known.second.get() == &queue; })
      ->first;
}

// ---- The graph behind the values ----

void Batch::keep_traced() {
  traced_ = true;
  std::vector<char> has_value(nodes_.size());
  for (const Step& step : plan_->steps)
    for (const Slot s : step.outputs) has_value[s] = 1;
  // What a trace needs keeps its graph, down to what gets a value.
  for (Slot s = static_cast<Slot>(nodes_.size()); s-- > 0;)
    if (is(s, Tape::traced))
      for (const array& in : node(s).inputs) {
        const Node& n = *in.node();
        if (!n.constant && n.slot < nodes_.size() && nodes_[n.slot] == &n && !has_value[n.slot])
          flags_[n.slot] |= Tape::traced;
      }
}

bool Batch::retains(const Step& step) const {
  return traced_ && std::any_of(step.members.begin(), step.members.end(),
                                [&](Slot s) { return is(s, Tape::traced); });
}

void Batch::drop_graph(const Step& step) {
  if (unfolded_) return release(step);
  for (const Slot s : step.members)
    if (!is(s, Tape::traced)) forget_graph(node(s));
}

void Batch::forget_graph(Node& n) {
  if (n.primitive->kind() == Kind::composite) n.outputs.clear();  // its expansion
  n.primitive = {};
  n.trace.store(0, std::memory_order_relaxed);  // it depends on nothing any more
  // May end what stood before it on the tape.
  const SmallVector<array, 2> dropped = std::exchange(n.inputs, {});
}

void Batch::fail(const Step& step, const std::exception_ptr& error, bool retry) {
  for (const Slot s : step.outputs) {
    if (!retry) {
      note_error(node(s), error);
    } else {
      node(s).buffer = {};
      node(s).status.store(Status::lazy, std::memory_order_release);
    }
  }
}

void Batch::add_error(const Node& node, const std::exception_ptr& error) noexcept {
  try {
    errors_.try_emplace(&node, error);
  } catch (const std::bad_alloc&) {  // error_of() says then that the computation failed
  }
}

void Batch::note_error(Node& node, const std::exception_ptr& error) noexcept {
  {
    const std::scoped_lock lock(mutex_of(Lock::batches));
    add_error(node, error);
  }
  node.buffer = {};
  node.status.store(Status::failed, std::memory_order_release);
}

}  // namespace cermet
