// Places: results get their region of the memory of a concatenation or slice update, which is
// allocated when the first of them is computed.
#include "eval/batch.h"
#include "graph/layout.h"
#include "graph/primitive.h"

namespace cermet {

// Where an operand lies in the whole that is begun.
void Batch::put_in_region(const Place& place, Begun& begun, Node& part) const {
  const Node& whole = node(place.whole);
  const auto& operands = plan_->steps[place.step].reads;
  part.buffer = whole.buffer;
  part.offset = whole.offset;
  part.strides = whole.strides;
  if (whole.primitive->kind() == Kind::concatenate) {
    const int axis = static_cast<const Concatenate&>(*whole.primitive).axis;
    if (place.operand < begun.operand) begun.operand = begun.start = 0;
    for (; begun.operand < place.operand; ++begun.operand)
      begun.start += node(operands[begun.operand].index()).shape[axis];
    part.offset += begun.start * whole.strides[axis];
    return;
  }
  const auto& update = static_cast<const SliceUpdate&>(*whole.primitive);
  for (std::size_t i = 0; i < part.strides.size(); ++i) {
    part.offset += update.start[i] * whole.strides[i];
    part.strides[i] *= update.step[i];
  }
}

// The memory of a whole that lies in no other.
bool Batch::begin(const Place& place, const Step& step, ProgramRun* run, Queue& queue) {
  Node& whole = node(place.whole);
  Begun begun{&queue};
  if (whole.primitive->kind() == Kind::concatenate) {
    allocate_value(whole, queue);
  } else {
    const Step& update = plan_->steps[place.step];
    const Node& base = node(update.reads[0].index());
    const auto under_way = results_.find(&base);
    const Status status = base.status.load(std::memory_order_acquire);
    if (under_way == results_.end() ? status != Status::available
                                    : under_way->second.queue != &queue)
      return false;
    // The elements that the program reads may be those it overwrites, and no others.
    Node region;
    whole.offset = base.offset;
    whole.strides = base.strides;
    put_in_region(place, begun, region);
    std::uint32_t views = 0;
    bool taken = base.strides == row_major(base.shape);
    for (const BoundArray& in : run->inputs) views += in.node->buffer == base.buffer;
    for (std::size_t i = 0; i < run->inputs.size(); ++i)
      if (const Node& in = *run->inputs[i].node; in.buffer == base.buffer)
        taken &= in.offset == region.offset && in.strides == region.strides &&
                 can_donate(step, run->program.inputs[i].slot, queue, views);
    if (taken && can_donate(update, update.reads[0].index(), queue, views)) {
      whole.buffer = base.buffer;
      run->overwrites = true;
    } else {
      allocate_value(whole, queue);
      try {
        begun.ticket = queue.copy(base, whole);
      } catch (...) {
        whole.buffer = {};
        throw;
      }
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
  while (!chain.empty()) {
    const Place& p = *chain.back();
    chain.pop_back();
    Node& part = node(chain.empty() ? s : chain.back()->whole);
    put_in_region(p, begun_.at(&node(p.whole)), part);
    if (!chain.empty()) begun_[&part] = {&queue};
  }
  return true;
}

}  // namespace cermet
