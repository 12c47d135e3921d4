// Places: results get their region of the memory of a concatenation or slice update, which is
// found when the first of them is computed.
#include "eval/batch.h"
#include "eval/views.h"
#include "graph/primitives/movement.h"
#include "plan/region.h"

namespace cermet {
namespace {

// Makes `part` a region of what has the memory and layout of `whole`.
void take_region(const Node& whole, const Region& region, Node& part) {
  part.buffer = whole.buffer;
  part.offset = whole.offset;
  part.strides = whole.strides;
  for (std::size_t i = 0; i < region.size(); ++i) {
    if (part.size) part.offset += region[i].start * whole.strides[i];
    part.strides[i] *= region[i].step;
  }
}

void describe(const Node& like, const Region& region, Node& part) {
  part.dtype = like.dtype;
  part.shape = shape_of(region);
  part.size = size_of(region);
  take_region(like, region, part);
}

}  // namespace

bool Batch::put_in_region(const Place& place, Begun& begun, Node& part) const {
  const Node& whole = node(place.whole);
  if (whole.primitive->kind() == Kind::reshape) {
    auto strides = reshaped(whole.shape, whole.strides, part.shape);
    if (!strides) return false;
    part.buffer = whole.buffer;
    part.offset = whole.offset;
    part.strides = std::move(*strides);
    return true;
  }
  if (whole.primitive->kind() == Kind::slice_update) {
    take_region(whole, region_of(whole, place.operand), part);
    return true;
  }
  const int axis = static_cast<const Concatenate&>(*whole.primitive).axis;
  if (place.operand < begun.operand) begun.operand = begun.start = 0;
  for (; begun.operand < place.operand; ++begun.operand)
    begun.start += node(plan_->steps[place.step].reads[begun.operand].index()).shape[axis];
  Region region = whole_of(part.shape);
  region[static_cast<std::size_t>(axis)].start = begun.start;
  take_region(whole, region, part);
  return true;
}

void Batch::begin_update(const Step& update, const Node& base, Queue& queue) {
  const Slot slot = update.outputs[0];
  Node& whole = node(slot);
  Begun begun{&queue};
  if (const auto known = plan_->bases.find(slot); known != plan_->bases.end()) {
    // Views that will still be read have the memory, too.
    SmallVector<Slot, 8> views;
    for (const Base::Reader& r : known->second.readers)
      if (r.slot != known->second.slot && r.made < next_ && r.step >= next_ &&
          node(r.slot).buffer == base.buffer &&
          std::find(views.begin(), views.end(), r.slot) == views.end())
        views.push_back(r.slot);
    if (free_to_overwrite_.contains(slot) && base.strides == row_major(base.shape) &&
        can_donate(update, known->second.slot, queue, static_cast<std::uint32_t>(views.size()))) {
      whole.buffer = base.buffer;
      whole.strides = base.strides;
      whole.offset = base.offset;
      begun.overwrites = true;
    }
  }
  if (!begun.overwrites) {
    allocate_value(whole, queue);
    for (const Region& region : remainder_of(whole)) {
      Node from, to;
      describe(base, region, from);
      describe(whole, region, to);
      begun.ticket = queue.copy(from, to);
    }
  }
  begun_[&whole] = begun;
}

bool Batch::is_there(const Node& n, const Queue& queue) const {
  const auto under_way = results_.find(&n);
  return under_way != results_.end()
             ? under_way->second.where == where(queue)
             : n.status.load(std::memory_order_acquire) == Status::available;
}

bool Batch::place(Slot s, Queue& queue) {
  // From the outermost whole inwards.
  SmallVector<const Place*, 4> chain;
  for (Slot at = s; chain.empty() || !node(at).buffer; at = chain.back()->whole) {
    const Place* p = plan_->place_of(at, flags_);
    if (!p) break;
    chain.push_back(p);
  }
  if (chain.empty()) return false;
  Node& outermost = node(chain.back()->whole);
  if (!outermost.buffer) {
    if (outermost.primitive->kind() == Kind::reshape) return false;
    const Step& step = plan_->steps[chain.back()->step];
    if (outermost.primitive->kind() == Kind::concatenate) {
      allocate_value(outermost, queue);
      begun_[&outermost] = {&queue};
    } else {
      const Node& base = node(step.reads[0].index());
      if (!is_there(base, queue)) return false;
      begin_update(step, base, queue);
    }
  }
  if (begun_.at(&outermost).queue != &queue) return false;  // their order is not known
  for (std::size_t i = chain.size(); i-- > 0;) {
    Node& part = node(i ? chain[i - 1]->whole : s);
    if (!put_in_region(*chain[i], begun_.at(&node(chain[i]->whole)), part)) {
      node(chain[i]->whole).buffer = {};  // a reshape, which is a view then
      return false;
    }
    if (i) begun_[&part] = {&queue};
  }
  return true;
}

std::shared_ptr<Ticket> Batch::run_update(const Step& step, std::span<Node* const> inputs,
                                          Queue& queue) {
  Node& whole = node(step.outputs[0]);
  if (!whole.buffer) begin_update(step, *inputs[0], queue);
  const Begun& begun = begun_.at(&whole);
  std::optional<Uninterrupted> guard;
  if (begun.overwrites) guard.emplace();
  std::shared_ptr<Ticket> ticket = begun.ticket;
  for (std::uint32_t k = 1; k < inputs.size(); ++k) {
    Node to;
    describe(whole, region_of(whole, k), to);
    const bool in_place = !step.reads[k].is_constant() &&
                          plan_->place_of(step.reads[k].index(), flags_) &&
                          inputs[k]->buffer == whole.buffer;
    if (!in_place && to.size) ticket = queue.copy(*inputs[k], to);
  }
  return ticket;
}

}  // namespace cermet
