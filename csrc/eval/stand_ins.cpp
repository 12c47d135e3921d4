// Batches with calls of compiled functions that were planned before: what is inside the calls has
// no nodes, and need not have any unless the batch cannot be finished.
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
  for (const array& c : unfolded_->constants) constants_.push_back(c.node()->scalar);
  for (const auto& [from, slot, index, node] : unfolded_->places) {
    Node* n = from == From::inside ? node->node() : folded.nodes[slot];
    std::uint8_t flags = from == From::tape ? folded.flags[slot] : 0;
    if (from == From::captured)
      n = static_cast<const Composite&>(*n->primitive).captured()[index].node();
    else if (flags & Tape::held)
      wanted_.emplace_back(static_cast<Slot>(nodes_.size()), Ref<Node>(n));
    if (from != From::tape && n->status.load(std::memory_order_acquire) == Status::available)
      flags = Tape::leaf | Tape::kept;
    nodes_.push_back(n);
    flags_.push_back(flags);
  }
  held_.resize(nodes_.size());
  for (const auto& [slot, node] : wanted_) schedule(*node);
  for (const Step& step : plan_->steps)
    for (const Slot s : step.outputs) {
      const auto& part = unfolded_->places[s].node;
      const Node& like = part ? *part->node() : node(s);
      SmallVector<array, 2> inputs;
      for (const Operand in : step.reads)
        inputs.push_back(in.is_constant() ? unfolded_->constants[in.index()]
                                          : array(Ref<Node>(&node(in.index()))));
      nodes_[s] =
          stand_ins_
              .emplace_back(like.primitive, like.shape, like.dtype, std::move(inputs), like.stream)
              .node();
      schedule(node(s));
    }
}

void Batch::hand_over() {
  for (const auto& [slot, wanted] : wanted_) {
    Node &from = node(slot), &to = *wanted;
    const Status status = from.status.load(std::memory_order_acquire);
    if (status == Status::failed) {
      note_error(to, error_of(&from));
      continue;
    }
    if (status == Status::available) {
      copy_value(from, to);
      forget_graph(to);
    }
    to.status.store(status, std::memory_order_release);
  }
}

void Batch::release(const Step& step) {
  for (const Slot s : step.last)
    if (!is_kept(s)) {
      node(s).buffer = {};
      node(s).outputs.clear();
    }
}

bool Batch::unfold(std::size_t steps_done) {
  const std::scoped_lock lock(graph_mutex());
  for (const auto& [slot, node] : wanted_)
    node->status.store(Status::lazy, std::memory_order_release);
  Tape tape = record(asked_, limits_of);
  if (plan_of(tape, limits_of) != plan_) {  // its plan was dropped meanwhile
    for (const auto& [slot, node] : wanted_) schedule(*node);
    return false;
  }
  const std::vector<Node*> stand_ins = std::exchange(nodes_, {});
  const Arrays keep = std::exchange(stand_ins_, {});
  const auto unfolded = std::exchange(unfolded_, nullptr);
  wanted_.clear();
  adopt(std::move(tape));
  for (std::size_t i = 0; i < steps_done; ++i) {
    const Step& step = plan_->steps[i];
    for (const Slot s : step.outputs) copy_value(*stand_ins[s], node(s));
    if (stand_ins[step.outputs[0]]->status.load(std::memory_order_acquire) == Status::failed) {
      for (const Slot s : step.outputs) note_error(node(s), error_of(stand_ins[s]));
    } else {
      announce(step, Status::available);
    }
  }
  return true;
}

}  // namespace cermet
