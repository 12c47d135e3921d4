// Places: results get their region of the memory of a concatenation or slice update, which is
// allocated when the first of them is computed.
#include "eval/batch.h"
#include "graph/primitive.h"

namespace cermet {

void Batch::put_in_region(const Place& place, Begun& begun, Node& part) const {
  const Node& whole = node(place.whole);
  part.buffer = whole.buffer;
  part.offset = whole.offset;
  part.strides = whole.strides;
  if (whole.primitive->kind() == Kind::concatenate) {
    const int axis = static_cast<const Concatenate&>(*whole.primitive).axis;
    if (place.operand < begun.operand) begun.operand = begun.start = 0;
    for (; begun.operand < place.operand; ++begun.operand)
      begun.start += node(plan_->steps[place.step].reads[begun.operand].index()).shape[axis];
    part.offset += begun.start * whole.strides[axis];
    return;
  }
  const auto& update = static_cast<const SliceUpdate&>(*whole.primitive);
  for (std::size_t i = 0; i < part.strides.size(); ++i) {
    part.offset += update.start[i] * whole.strides[i];
    part.strides[i] *= update.step[i];
  }
}

bool Batch::begin(const Place& place, const Step& step, ProgramRun* run, Queue& queue) {
  Node& whole = node(place.whole);
  Begun begun{&queue};
  if (whole.primitive->kind() == Kind::concatenate) {
    allocate_value(whole, queue);
  } else {
    const Step& update = plan_->steps[place.step];
    const Slot slot = update.reads[0].index();
    const Node& base = node(slot);
    const auto under_way = results_.find(&base);
    if (under_way != results_.end()
            ? under_way->second.queue != &queue
            : base.status.load(std::memory_order_acquire) != Status::available)
      return false;
    // The elements of the base that the program reads must be those it overwrites.
    Node to;
    whole.offset = base.offset;
    whole.strides = base.strides;
    put_in_region(place, begun, to);
    std::uint32_t views = 0;
    for (const BoundArray& in : run->inputs) views += in.node->buffer == base.buffer;
    bool taken = base.strides == row_major(base.shape) && can_donate(update, slot, queue, views);
    for (std::size_t i = 0; taken && views && i < run->inputs.size(); ++i)
      if (const Node& in = *run->inputs[i].node; in.buffer == base.buffer)
        taken = in.offset == to.offset && in.strides == to.strides &&
                can_donate(step, run->program.inputs[i].slot, queue, views);
    if (!taken && views) return false;  // the base may die with the program
    if (taken) {
      whole.buffer = base.buffer;
      run->overwrites = true;
    } else {
      to.buffer = queue.allocate(static_cast<std::size_t>(base.size) * size_of(base.dtype));
      begun.ticket = queue.copy(base, to);
      whole.buffer = to.buffer;
      whole.offset = 0;
      whole.strides = row_major(whole.shape);
    }
  }
  begun_[&whole] = begun;
  return true;
}

bool Batch::place(Slot s, const Step& step, ProgramRun* run, Queue& queue) {
  // From the outermost whole inwards.
  SmallVector<const Place*, 4> chain;
  for (Slot at = s; chain.empty() || !node(at).buffer; at = chain.back()->whole) {
    const Place* p = plan_->place_of(at, flags_);
    if (!p) break;
    chain.push_back(p);
  }
  if (chain.empty()) return false;
  Node& outermost = node(chain.back()->whole);
  if (!outermost.buffer && !begin(*chain.back(), step, run, queue)) return false;
  if (begun_.at(&outermost).queue != &queue) return false;  // their order is not known
  for (std::size_t i = chain.size(); i-- > 0;) {
    Node& part = node(i ? chain[i - 1]->whole : s);
    put_in_region(*chain[i], begun_.at(&node(chain[i]->whole)), part);
    if (i) begun_[&part] = {&queue};
  }
  return true;
}

}  // namespace cermet
