// Which nodes flow: what is asked of each node goes backwards through the tape, and repeated work
// is weighed against memory.
#include "plan/flow.h"

#include <algorithm>

#include "plan/mask.h"

namespace cermet {
namespace {

// Simple operations for each element that may be repeated, so that it is neither written nor read.
constexpr double kRepeated = 24;
constexpr double kLongest = 256;  // expression that flows
constexpr std::size_t kMostDemands = 32;
constexpr int kDeepest = 128;

}  // namespace

double cost_of(Op op) {
  switch (op) {
    case Op::negative:
    case Op::abs:
    case Op::square:
    case Op::add:
    case Op::subtract:
    case Op::multiply:
    case Op::maximum:
    case Op::minimum:
    case Op::equal:
    case Op::not_equal:
    case Op::less:
    case Op::less_equal:
    case Op::greater:
    case Op::greater_equal:
    case Op::logical_and:
    case Op::logical_or:
    case Op::logical_xor:
    case Op::logical_not:
    case Op::bitwise_and:
    case Op::bitwise_or:
    case Op::bitwise_xor:
    case Op::bitwise_invert:
    case Op::select:
    case Op::cast: return 1;
    case Op::divide:
    case Op::sqrt:
    case Op::reciprocal:
    case Op::sign:
    case Op::floor:
    case Op::ceil: return 2;
    default: return 16;
  }
}

Flow::Flow(const Tape& tape, const std::unordered_set<const Node*>& outer)
    : tape(tape), items(tape.nodes.size()) {
  for (Slot s = 0; s < items.size(); ++s) {
    items[s].role = role_of(s, outer);
    note_reads(s);
  }
  for (Slot s = 0; s < items.size(); ++s) weigh(s);
}

Flow::Role Flow::role_of(Slot s, const std::unordered_set<const Node*>& outer) const {
  const Node& n = node(s);
  if (tape.flags[s] & (Tape::leaf | Tape::traced | Tape::expanded) || outer.contains(&n) ||
      n.size == 0)
    return Role::other;
  switch (tape.kinds[s]) {
    case Kind::elementwise: return Role::elementwise;
    case Kind::slice: return Role::slice;
    case Kind::concatenate: return Role::concatenate;
    case Kind::slice_update: return Role::update;
    case Kind::broadcast: return Role::pass;
    case Kind::identity:
    case Kind::reshape:
      return tape.inputs(s).size() == 1 &&
                     without_units(n.shape) == without_units(tape.node(tape.inputs(s)[0]).shape)
                 ? Role::pass
                 : Role::other;
    default: return Role::other;
  }
}

void Flow::note_reads(Slot s) {
  Item& i = items[s];
  i.needed |= tape.is(s, Tape::held);
  if (tape.is(s, Tape::leaf)) return;
  for (const Operand o : tape.inputs(s)) {
    if (o.is_constant()) continue;
    Item& in = items[o.index()];
    if (tape.kinds[s] == Kind::reduce)
      in.reduced = true;
    else if (i.role == Role::other || node(o.index()).stream != node(s).stream)
      in.needed = true;
    in.apart |= i.role == Role::elementwise || i.role == Role::slice || i.role == Role::pass;
    in.spread |= (i.role == Role::elementwise || i.role == Role::pass) &&
                 node(s).size > 2 * node(o.index()).size;
  }
}

void Flow::weigh(Slot s) {
  Item& i = items[s];
  if (tape.is(s, Tape::leaf)) return;
  if (i.role == Role::slice && i.needed && !tape.inputs(s)[0].is_constant())
    items[tape.inputs(s)[0].index()].in_parts = true;
  if (i.role == Role::other || i.needed) {
    // Nor what an epilogue may belong to.
    i.pure = tape.kinds[s] != Kind::reduce && !tape.is(s, Tape::product);
    if (is_view(tape.kinds[s]) && !tape.inputs(s)[0].is_constant())
      i.pure = items[tape.inputs(s)[0].index()].pure;
    return;
  }
  for (const Operand o : tape.inputs(s)) {
    if (o.is_constant()) continue;
    const Item& in = items[o.index()];
    i.pure &= in.pure;
    i.depth = std::max(i.depth, in.depth);
    i.weight = i.role == Role::elementwise ? i.weight + in.weight : std::max(i.weight, in.weight);
  }
  if (i.role == Role::elementwise)
    i.weight += cost_of(static_cast<const Elementwise&>(*node(s).primitive).op);
  // What flows is walked recursively.
  i.forced = ++i.depth == kDeepest;
  if (i.forced) i.depth = 0;
}

// Backwards, as it follows from what is asked of each node.
void Flow::decide() {
  for (Item& i : items) {
    i.demands.clear();
    i.bound = i.reduced || i.spread;
    i.flows = i.carries = i.touched = false;
  }
  for (Slot s = static_cast<Slot>(items.size()); s-- > 0;) {
    Item& i = items[s];
    if (i.role == Role::other) continue;
    i.flows = can_flow(s);
    const bool whole = i.demands.empty() || !i.flows || i.reduced;
    if (whole) demand_inputs(s, whole_of(node(s).shape));
    if (i.flows)
      for (const Region& r : i.demands) demand_inputs(s, r);
    for (const Operand o : tape.inputs(s))
      if (!o.is_constant() && i.bound) bind(s, o);
  }
  for (Slot s = 0; s < items.size(); ++s) {
    Item& i = items[s];
    if (i.role == Role::other) continue;
    for (const Operand o : tape.inputs(s))
      if (flows(o)) {
        const Item& in = items[o.index()];
        const bool carried = in.role == Role::elementwise || in.carries;
        i.carries |= carried && i.role == Role::pass;
        i.touched |= in.touched || is_assembled(o.index()) || (carried && i.role == Role::slice);
      }
    i.touched |= i.role == Role::slice && exact_update(s);
  }
}

// A part of what is put together may be reduced, but all of it is better read from memory.
void Flow::bind(Slot s, Operand o) {
  if (is_assembled(s)) return;
  int parts = 0;
  if (items[s].role == Role::slice && is_assembled(o.index()))
    for_each_part(o.index(), region_of_slice(s),
                  [&](Operand, const Region&, const Region&, std::size_t) { ++parts; });
  items[o.index()].bound |= parts != 1;
}

bool Flow::can_flow(Slot s) const {
  const Item& i = items[s];
  if (i.needed || i.forced || i.demands.empty()) return false;
  if (i.role == Role::slice || i.role == Role::pass) return true;
  const bool assembled = i.role == Role::concatenate || i.role == Role::update;
  if (assembled && (i.bound || !i.apart)) return false;
  const bool whole = i.demands.size() == 1 && i.demands[0] == whole_of(node(s).shape);
  if (whole) return !i.bound;
  double times = i.reduced ? 1 : 0;
  for (const Region& r : i.demands)
    times += static_cast<double>(size_of(r)) / static_cast<double>(node(s).size);
  if (i.in_parts && times > 0.75) return false;  // views of it cost less
  return i.pure && i.weight <= kLongest && (times - 1) * i.weight <= kRepeated;
}

void Flow::demand(Operand o, Region region) {
  if (o.is_constant()) return;
  Item& i = items[o.index()];
  if (std::find(i.demands.begin(), i.demands.end(), region) != i.demands.end()) return;
  if (i.demands.size() == kMostDemands) {
    i.forced = true;
    return;
  }
  i.demands.push_back(std::move(region));
}

void Flow::demand_inputs(Slot s, const Region& region) {
  for_each_part(s, region,
                [&](Operand o, const Region& in, const Region&, std::size_t) { demand(o, in); });
}

// The operand of a slice update that a slice reads again, where that one stays in memory: 0 where
// there is none.
std::uint32_t Flow::exact_update(Slot s) const {
  const Operand of = tape.inputs(s)[0];
  if (of.is_constant() || items[s].needed || items[of.index()].role != Role::update ||
      items[of.index()].flows)
    return 0;
  const Region region = region_of_slice(s);
  for (std::uint32_t k = 1; k < tape.inputs(of.index()).size(); ++k)
    if (region_of(node(of.index()), k) == region) return k;
  return 0;
}

void Flow::force_below(Slot s) {
  bool forced = false;
  std::vector<Slot> stack{s};
  while (!stack.empty()) {
    const Slot at = stack.back();
    stack.pop_back();
    for (const Operand o : tape.inputs(at)) {
      if (!flows(o) || items[o.index()].forced) continue;
      forced |= items[o.index()].forced = is_assembled(o.index());
      if (items[o.index()].touched) stack.push_back(o.index());
    }
  }
  if (forced) return;
  items[s].role = Role::other;  // it stays as it is
  for (const Operand o : tape.inputs(s))
    if (!o.is_constant()) items[o.index()].needed = true;
}

}  // namespace cermet
