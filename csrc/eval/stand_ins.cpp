// Batches with calls of compiled functions that were planned before: what is inside the calls has
// no nodes, and need not have any unless the batch cannot be finished.
#include <optional>

#include "cermet/eval.h"
#include "eval/batch.h"
#include "graph/primitive.h"

namespace cermet {
namespace {

void copy_value(const Node& from, Node& to) {
  to.buffer = from.buffer;
  to.strides = from.strides;
  to.offset = from.offset;
  to.outputs = from.outputs;
}

}  // namespace

void Batch::stand_in(const Tape& folded, std::shared_ptr<const Unfolded> unfolded,
                     const Arrays& asked) {
  using From = Unfolded::Place::From;
  unfolded_ = std::move(unfolded);
  asked_ = asked;
  const std::size_t slots = unfolded_->places.size();
  held_.resize(slots);
  flags_.resize(slots);
  for (const array& c : unfolded_->constants) constants_.push_back(c.node()->scalar);
  for (Slot s = 0; s < slots; ++s) {
    const auto& [from, place, index, part] = unfolded_->places[s];
    Node* n = from == From::inside ? part->node() : folded.nodes[place];
    if (from == From::captured)
      n = static_cast<const Composite&>(*n->primitive).captured()[index].node();
    const bool available = n->status.load(std::memory_order_acquire) == Status::available;
    if (from == From::tape) flags_[s] = folded.flags[place];
    if (is(s, Tape::held)) {
      wanted_.emplace_back(s, Ref<Node>(n));
    } else if (from == From::tape && !available && is(s, Tape::leaf)) {
      awaited_.push_back({s, Ref<Node>(n), folded.uses[place]});
      held_[s] =
          array(Identity::instance(Identity::Why::depends), n->shape, n->dtype, {}, n->stream)
              .ref();
      n = held_[s].get();
    } else if (available && (from != From::tape || is(s, Tape::kept) || !n->buffer)) {
      flags_[s] |= Tape::kept;
    } else if (available) {  // its memory goes with its last reader
      held_[s] = array(n->buffer, n->shape, n->dtype, n->strides, n->offset).ref();
      wanted_.emplace_back(s, Ref<Node>(n));
      n = held_[s].get();
    }
    nodes_.push_back(n);
  }
  for (const Step& step : plan_->steps)
    for (const Slot s : step.outputs) {
      const auto& part = unfolded_->places[s].node;
      const Node& like = part ? *part->node() : node(s);
      SmallVector<array, 2> inputs;
      for (const Operand in : step.reads)
        inputs.push_back(in.is_constant() ? unfolded_->constants[in.index()]
                                          : array(Ref<Node>(&node(in.index()))));
      held_[s] =
          array(like.primitive, like.shape, like.dtype, std::move(inputs), like.stream).ref();
      nodes_[s] = held_[s].get();
      schedule(node(s));
    }
  // Nothing throws any more, so others' nodes may change.
  for (const auto& [slot, node] : wanted_)
    if (is(slot, Tape::leaf))
      node->buffer = {};
    else
      schedule(*node);
}

void Batch::take_up() {
  if (awaited_.empty()) return;
  wanted_.reserve(wanted_.size() + awaited_.size());
  const std::scoped_lock lock(graph_mutex());
  for (const auto& [slot, from, uses] : awaited_) {
    Node& to = node(slot);
    const bool stands_in = &to != from.get();
    bool available = false, alone = false;
    std::optional<Result> in_flight;
    {
      const std::scoped_lock held(mutex_of(Lock::batches));
      const Status status = from->status.load(std::memory_order_acquire);
      available = status == Status::available;
      alone = available && from->refs() == uses + 1u;  // and `awaited_`
      if (status == Status::encoded) {
        auto& results = from->batch->results_;
        const auto it = results.find(from.get());
        in_flight = it->second;
        in_flight->node = Ref<Node>(&to);
        alone = from->refs() == uses + 2u + !stands_in;  // and those of the two results
        in_flight->own = alone || stands_in;
        if (alone) results.erase(it);
      }
    }
    if (alone)
      flags_[slot] &= static_cast<std::uint8_t>(~Tape::kept);
    else
      flags_[slot] |= Tape::kept;
    if (in_flight) {
      results_.emplace(&to, std::move(*in_flight));
      if (alone) from->batch = shared_from_this();
    }
    if (!stands_in) continue;
    if (!available && !in_flight) {  // it carries its error, or is lazy again
      held_[slot] = from;
      nodes_[slot] = from.get();
      continue;
    }
    copy_value(*from, to);
    to.status.store(available ? Status::available : Status::encoded, std::memory_order_release);
    if (!alone) continue;
    from->buffer = {};
    wanted_.emplace_back(slot, from);
  }
  awaited_.clear();
}

void Batch::hand_over() {
  for (const auto& [slot, wanted] : wanted_) {
    Node &from = node(slot), &to = *wanted;
    // What is under way is another node's value from now on.
    if (auto entry = results_.extract(&from)) {
      entry.key() = &to;
      entry.mapped().node = wanted;
      results_.insert(std::move(entry));
    }
    if (is(slot, Tape::leaf)) {
      if (held_[slot]) to.buffer = from.buffer;  // nobody read it
      continue;
    }
    const Status status = from.status.load(std::memory_order_acquire);
    if (status == Status::failed) {
      note_error(to, error_of(&from));
      continue;
    }
    if (status == Status::available || status == Status::encoded) {
      try {
        copy_value(from, to);
      } catch (const std::bad_alloc&) {  // it is computed again
        to.status.store(Status::lazy, std::memory_order_release);
        continue;
      }
      forget_graph(to);
    }
    to.status.store(status, std::memory_order_release);
  }
}

void Batch::release(const Step& step) {
  for (const Slot s : step.outputs) node(s).inputs.clear();
  for (const Slot s : step.last)
    if (!is_kept(s)) held_[s] = {};
}

bool Batch::unfold(std::size_t steps_done) {
  settle();
  const std::scoped_lock lock(graph_mutex());
  const auto all_wanted = [&](Status status) {
    for (const auto& [slot, node] : wanted_)
      if (!is(slot, Tape::leaf)) node->status.store(status, std::memory_order_release);
  };
  all_wanted(Status::lazy);
  const Tape& tape = record(asked_, limits_of);
  if (plan_of(tape, limits_of) != plan_) {  // it was dropped meanwhile
    all_wanted(Status::scheduled);
    return false;
  }
  const std::vector<Ref<Node>> stand_ins = std::exchange(held_, {});
  const auto unfolded = std::exchange(unfolded_, nullptr);
  wanted_.clear();
  adopt(tape);
  for (Slot s = 0; s < stand_ins.size(); ++s)
    if (stand_ins[s] && (stand_ins[s]->buffer || !is(s, Tape::leaf)))
      copy_value(*stand_ins[s], node(s));
  for (std::size_t i = 0; i < steps_done; ++i) {
    const Step& step = plan_->steps[i];
    std::exception_ptr error;
    for (const Slot s : step.outputs)
      if (stand_ins[s] && stand_ins[s]->status.load(std::memory_order_acquire) == Status::failed)
        error = error_of(stand_ins[s].get());
    if (error)
      fail(step, error, false);
    else
      announce(step, Status::available);
  }
  return true;
}

}  // namespace cermet
