// From clusters to steps and programs, and the plans that are kept.
#include "plan/plan.h"

#include <bit>
#include <unordered_map>

#include "graph/hash.h"
#include "graph/lru_map.h"
#include "graph/primitives/arithmetic.h"
#include "plan/cluster.h"

namespace cermet {
namespace {

// Makes the program of one cluster.
class Builder {
 public:
  Builder(const Tape& tape, const Clusters& all, const Cluster& cluster)
      : tape_(tape), all_(all), c_(cluster), full_(all_axes(cluster.domain.size())) {}

  Program build(std::vector<Slot>& outputs) {
    order_axes();
    for (const Product& p : c_.products) {
      const ValueId value = operand(Operand::node(p.value), full_);
      if (is_stored(p.value)) {
        outputs.push_back(p.value);
        store(p.value, copy_of(value, node(p.value).dtype, Extent::full), full_);
      }
    }
    p_.products = static_cast<std::uint32_t>(c_.products.size());
    for (const Slot s : c_.members) {
      Item i = all_.items[s];
      if (i.role == Role::opaque) continue;  // a product, or a reshape of its result
      all_.refresh(i, c_);
      locate_axes(s, i);
      ValueId value = value_of(s, i);
      if (is_stored(s)) {
        if (const Value& v = p_.values[value];
            v.from != Value::From::instruction || v.extent != extent_of(i.mask))
          value = copy_of(value, node(s).dtype, extent_of(i.mask));
        outputs.push_back(s);
        store(s, value, i.mask);
      }
      computed_.emplace(s, value);
    }
    for (ProgramOutput& out : p_.outputs) find_donors(out);
    for (std::size_t k = again_.size(); k-- > 0;) delay(inputs_.at(again_[k]));
    return std::move(p_);
  }
  // What it computes though another program does, too.
  const std::vector<Slot>& again() const { return again_; }

 private:
  const Node& node(Slot s) const { return *tape_.nodes[s]; }
  bool is_stored(Slot s) const { return all_.is_stored(s); }
  // Whether it is a part of another program that does not store it.
  bool is_elsewhere(Slot s) const {
    const Item& i = all_.items[s];
    return i.role != Role::leaf && i.role != Role::opaque && !is_stored(s) &&
           &all_.clusters[i.cluster] != &c_;
  }

  // Axes in the program's order: outer kept, reduced, inner kept.
  void order_axes() {
    const int axes = static_cast<int>(c_.domain.size());
    const int last_reduced = c_.reduced ? 63 - std::countl_zero(c_.reduced) : -1;
    position_ = Axes(axes);
    int next = 0;
    for (int group = 0; group < 3; ++group)
      for (int a = 0; a < axes; ++a) {
        const bool reduced = c_.reduced >> a & 1;
        if (group != (reduced ? 1 : a < last_reduced ? 0 : 2)) continue;
        position_[a] = next++;
        p_.outer += group == 0;
        p_.reduced += group == 1;
      }
    p_.domain.resize(c_.domain.size(), {kUnknown, 0});
  }

  // Notes where a member's (or a reduction's input's) shape tells the domain's extents.
  void locate_axes(Slot s, const Item& i) {
    if (i.role == Role::reduce && !tape_.inputs(s)[0].is_constant())
      locate(tape_.inputs(s)[0].index(), full_);
    locate(s, i.mask);
  }
  void locate(Slot s, Mask mask) {
    const Shape& shape = node(s).shape;
    for (int d = 0; d < static_cast<int>(shape.size()); ++d)
      if (shape[d] != 1) {
        Program::Axis& axis = p_.domain[position_[std::countr_zero(mask)]];
        if (axis.slot == kUnknown) axis = {s, d};
        mask &= mask - 1;
      }
  }

  Extent extent_of(Mask m) const {
    if (m == full_) return Extent::full;
    if (c_.reduced && m == (full_ & ~c_.reduced)) return Extent::row;
    if (m == 0) return Extent::scalar;
    return c_.reduced && !(m & c_.reduced) ? Extent::row : Extent::full;
  }
  // The domain's axis for each axis at `mask`.
  Axes axes_of(Mask mask) const {
    Axes axes;
    for (; mask; mask &= mask - 1) axes.push_back(position_[std::countr_zero(mask)]);
    return axes;
  }

  ValueId new_value(Value v) {
    p_.values.push_back(v);
    return static_cast<ValueId>(p_.values.size() - 1);
  }

  // The value of a member before it is stored.
  ValueId value_of(Slot s, const Item& i) {
    const Node& n = node(s);
    const auto inputs = tape_.inputs(s);
    Instruction ins;
    ins.compute = tape_.node(inputs.back()).dtype;
    switch (i.role) {
      case Role::elementwise:
        ins.op = static_cast<const Elementwise&>(*n.primitive).op;
        for (std::size_t k = 0; k < inputs.size(); ++k)
          ins.in[k] =
              operand(inputs[k], broadcast_mask(n.shape, i.mask, tape_.node(inputs[k]).shape));
        return add_instruction(ins, n.dtype, extent_of(i.mask));
      case Role::reduce:
        ins.is_reduce = true;
        ins.reduce = static_cast<const Reduce&>(*n.primitive).op;
        ins.in[0] = operand(inputs[0], full_);
        return add_instruction(ins, n.dtype, c_.reduced ? Extent::row : Extent::full);
      case Role::broadcast:
        return operand(inputs[0], broadcast_mask(n.shape, i.mask, tape_.node(inputs[0]).shape));
      default: return operand(inputs[0], i.mask);
    }
  }

  // The value of an operand of a member, whose axes lie at `mask`.
  ValueId operand(Operand o, Mask mask) {
    if (o.is_constant()) {
      const auto [it, added] = constants_.try_emplace(o.index(), kNoValue);
      if (added) {
        it->second =
            new_value({tape_.constants[o.index()]->dtype, Extent::scalar, Value::From::constant,
                       static_cast<std::uint32_t>(p_.constants.size())});
        p_.constants.push_back(o.index());
      }
      return it->second;
    }
    if (const auto it = computed_.find(o.index()); it != computed_.end()) return it->second;
    auto& known = inputs_[o.index()];
    for (const auto& [m, id] : known)
      if (m == mask) return id;
    if (is_elsewhere(o.index())) {
      Item i = all_.items[o.index()];
      i.mask = mask;
      const ValueId id = value_of(o.index(), i);
      inputs_[o.index()].emplace_back(mask, id);
      again_.push_back(o.index());
      return id;
    }
    const Dtype dtype = node(o.index()).dtype;
    const ValueId id = new_value(
        {dtype, extent_of(mask), Value::From::input, static_cast<std::uint32_t>(p_.inputs.size())});
    p_.inputs.push_back({id, o.index(), dtype, extent_of(mask), axes_of(mask)});
    known.emplace_back(mask, id);
    return id;
  }

  // The pass from which on a value can be used.
  std::uint16_t ready(ValueId id) const {
    const Value& v = p_.values[id];
    return v.from == Value::From::instruction ? p_.instructions[v.index].phase : 0;
  }
  ValueId add_instruction(Instruction ins, Dtype dtype, Extent extent) {
    for (const ValueId v : ins.in)
      if (v != kNoValue) ins.phase = std::max(ins.phase, ready(v));
    if (ins.is_reduce) ++ins.phase;
    p_.phases = std::max(p_.phases, ins.phase + 1);
    ins.out = new_value({dtype, extent, Value::From::instruction,
                         static_cast<std::uint32_t>(p_.instructions.size())});
    p_.instructions.push_back(ins);
    return ins.out;
  }

  // What is computed again is so in the first pass that reads it, not kept for it.
  void delay(const std::vector<std::pair<Mask, ValueId>>& known) {
    for (const auto& [mask, id] : known) {
      if (p_.values[id].from != Value::From::instruction || p_.values[id].extent != Extent::full)
        continue;
      int first = p_.phases;
      for (const Instruction& ins : p_.instructions)
        if (std::find(std::begin(ins.in), std::end(ins.in), id) != std::end(ins.in))
          first = std::min(first, ins.phase - ins.is_reduce);
      Instruction& ins = p_.instructions[p_.values[id].index];
      if (first < p_.phases) ins.phase = std::max(ins.phase, static_cast<std::uint16_t>(first));
    }
  }

  // A copy of an input, or a row value in each of its places.
  ValueId copy_of(ValueId value, Dtype dtype, Extent extent) {
    Instruction ins;
    ins.compute = dtype;
    ins.in[0] = value;
    return add_instruction(ins, dtype, extent);
  }

  void store(Slot s, ValueId value, Mask mask) {
    const auto [it, added] = written_.try_emplace(value, p_.outputs.size());
    if (added) p_.outputs.push_back({value, {}, axes_of(mask), {}});
    p_.outputs[it->second].slots.push_back(s);
  }

  // The inputs whose memory an output may take over if nobody else needs it: they have its type and
  // the domain's order, and each element is read before it is written. (A product reads its
  // operands after the first results are written.)
  void find_donors(ProgramOutput& out) const {
    const Value& v = p_.values[out.value];
    if (p_.phases != 1 || v.extent != Extent::full || !in_order(out.axes)) return;
    for (std::uint32_t i = p_.products; i < p_.inputs.size(); ++i) {
      const ProgramInput& in = p_.inputs[i];
      const bool read_later = std::any_of(
          p_.instructions.begin() + v.index + 1, p_.instructions.end(), [&](const Instruction& k) {
            return std::find(std::begin(k.in), std::end(k.in), in.value) != std::end(k.in);
          });
      const bool read_once = inputs_.at(in.slot).size() == 1;
      if (in.extent == Extent::full && in.dtype == v.dtype && in_order(in.axes) && read_once &&
          !read_later && !is_factor(in.slot))
        out.donors.push_back(i);
    }
  }
  bool is_factor(Slot s) const {
    return std::any_of(c_.products.begin(), c_.products.end(), [&](const Product& p) {
      const auto reads = tape_.inputs(p.slot);
      return std::find(reads.begin(), reads.end(), Operand::node(s)) != reads.end();
    });
  }
  bool in_order(const Axes& axes) const {
    for (std::size_t k = 0; k < axes.size(); ++k)
      if (axes[k] != static_cast<int>(k)) return false;
    return axes.size() == p_.domain.size();
  }

  static constexpr Slot kUnknown = 0xffffffff;
  const Tape& tape_;
  const Clusters& all_;
  const Cluster& c_;
  const Mask full_;
  Program p_;
  Axes position_;  // of the cluster's axes in the program
  std::unordered_map<std::uint32_t, ValueId> constants_;
  std::unordered_map<Slot, std::vector<std::pair<Mask, ValueId>>> inputs_;
  std::unordered_map<Slot, ValueId> computed_;
  std::vector<Slot> again_;
  std::unordered_map<ValueId, std::size_t> written_;
};

using Words = std::vector<std::uint32_t>;
struct WordsHash {
  std::size_t operator()(const Words& words) const {
    std::size_t h = words.size();
    for (const std::uint32_t word : words) h = mix(h, word);
    return h;
  }
};

// All of a program but which nodes it reads and writes.
Words structure_of(const Program& p) {
  Words out{static_cast<std::uint32_t>(p.domain.size()), static_cast<std::uint32_t>(p.outer),
            static_cast<std::uint32_t>(p.reduced), static_cast<std::uint32_t>(p.phases),
            p.products};
  const auto add = [&](auto... words) { (out.push_back(static_cast<std::uint32_t>(words)), ...); };
  const auto add_axes = [&](const Axes& axes) {
    add(axes.size());
    for (const int a : axes) add(a);
  };
  add(p.values.size(), p.inputs.size(), p.instructions.size(), p.outputs.size());
  for (const Value& v : p.values) add(v.dtype, v.extent, v.from, v.index);
  for (const ProgramInput& in : p.inputs) add_axes(in.axes);
  for (const Instruction& ins : p.instructions)
    add(ins.op, ins.reduce, ins.is_reduce, ins.phase, ins.compute, ins.out, ins.in[0], ins.in[1],
        ins.in[2]);
  for (const ProgramOutput& o : p.outputs) {
    add(o.value);
    add_axes(o.axes);
  }
  return out;
}

std::shared_ptr<Kernels> kernels_of(const Program& program);

Step make_step(const Tape& tape, const Clusters& all, Cluster& c, std::vector<Slot>& again) {
  std::sort(c.members.begin(), c.members.end());
  Step step;
  step.stream = c.stream;
  if (c.fusible) {
    step.kind = Step::Kind::program;
    Builder builder(tape, all, c);
    step.program = std::make_unique<const Program>(builder.build(step.outputs));
    again = builder.again();
    step.kernels = kernels_of(*step.program);
    for (const Product& p : c.products)
      step.products.push_back({p.slot, {tape.inputs(p.slot).begin(), tape.inputs(p.slot).end()}});
  } else {
    const Slot s = c.members[0];
    const Kind kind = tape.kinds[s];
    const bool reshapes = kind == Kind::reduce && tape.node(tape.inputs(s)[0]).size != 0;
    step.kind = is_view(kind) || reshapes ? Step::Kind::view : Step::Kind::primitive;
    step.outputs = {s};
    step.reads.assign(tape.inputs(s).begin(), tape.inputs(s).end());
  }
  step.members = std::move(c.members);
  return step;
}

// What several steps compute counts to the last of them: until then its graph is there.
void keep_for_last(std::vector<Step>& steps, const std::vector<std::vector<Slot>>& again) {
  std::unordered_map<Slot, std::size_t> last;
  for (std::size_t k = 0; k < again.size(); ++k)
    for (const Slot s : again[k]) last[s] = k;
  if (last.empty()) return;
  for (Step& step : steps) std::erase_if(step.members, [&](Slot s) { return last.contains(s); });
  for (const auto& [s, k] : last) {
    auto& members = steps[k].members;
    members.insert(std::upper_bound(members.begin(), members.end(), s), s);
  }
}

std::shared_ptr<const Plan> make_plan(const Tape& tape, LimitsOf limits) {
  Clusters all(tape, limits);
  auto plan = std::make_shared<Plan>();
  std::vector<std::vector<Slot>> again;
  for (const int c : all.order()) {
    Cluster& cluster = all.clusters[c];
    const auto stored = [&](Slot s) { return all.is_stored(s); };
    if (cluster.fusible && cluster.products.empty() &&
        std::none_of(cluster.members.begin(), cluster.members.end(), stored))
      continue;  // its readers compute it
    plan->steps.push_back(make_step(tape, all, cluster, again.emplace_back()));
  }
  keep_for_last(plan->steps, again);
  // What constants are repeated to is there before anything is stored into it.
  std::stable_partition(plan->steps.begin(), plan->steps.end(), [](const Step& step) {
    return step.kind == Step::Kind::view &&
           std::all_of(step.reads.begin(), step.reads.end(),
                       [](Operand in) { return in.is_constant(); });
  });
  std::vector<char> read(tape.nodes.size());
  for (auto step = plan->steps.rbegin(); step != plan->steps.rend(); ++step)
    for_each_read(*step, [&](Slot s) {
      if (!std::exchange(read[s], true)) step->last.push_back(s);
    });
  find_places(tape, limits, *plan);
  return plan;
}

// ---- Kept plans ----

// Under graph_mutex(), as planning is.
struct Cache {
  // A plan weighs as much as its key has words, and is several times as large.
  static constexpr std::size_t kMaxWeight = 4 << 20;
  // Of what nobody asks for again once its compiled function is gone: a thousand are enough.
  static constexpr std::size_t kLeastWeight = kMaxWeight / 1024;
  LruMap<Words, std::shared_ptr<const Plan>, WordsHash> plans{kMaxWeight};
  LruMap<Words, std::shared_ptr<Kernels>, WordsHash> kernels{kMaxWeight};  // by program
  LruMap<Words, std::shared_ptr<const Unfolded>, WordsHash> unfolded{kMaxWeight};
  std::uint64_t made = 0, found = 0, expanded = 0;
};
Cache& cache() {
  static Cache* const c = new Cache;  // arrays may be evaluated after static objects are gone
  return *c;
}

std::shared_ptr<Kernels> kernels_of(const Program& program) {
  Words structure = structure_of(program);
  if (const auto* known = cache().kernels.find(structure)) return *known;
  const std::size_t weight = structure.size();
  return cache().kernels.insert(std::move(structure), std::make_shared<Kernels>(), weight);
}

}  // namespace

std::shared_ptr<const Plan> plan_of(const Tape& tape, LimitsOf limits) {
  Cache& c = cache();
  if (const auto* plan = c.plans.find(tape.key)) {
    ++c.found;
    return *plan;
  }
  ++c.made;
  return c.plans.insert(tape.key, make_plan(tape, limits), tape.key.size());
}

// ---- Folded tapes ----

namespace {

Words exact_key(const Tape& folded) {
  Words key = folded.key;
  key.insert(key.end(), folded.numbers.begin(), folded.numbers.end());
  return key;
}

// Whether it may outlive its node in a cache: it has no arrays or files of its own.
bool may_be_kept(const Primitive& p) {
  return p.kind() != Kind::load && p.kind() != Kind::custom &&
         (p.kind() != Kind::composite || static_cast<const Composite&>(p).captured().empty());
}

}  // namespace

std::shared_ptr<const Unfolded> find_unfolded(const Tape& folded) {
  const auto* known = cache().unfolded.find(exact_key(folded));
  if (!known) return nullptr;
  const auto& primitives = (*known)->primitives;
  for (Slot s = 0; s < primitives.size(); ++s)
    if (const auto& p = primitives[s];
        p && p != folded.nodes[s]->primitive && !p->equals(*folded.nodes[s]->primitive))
      return nullptr;
  if ((*known)->plan) ++cache().found;
  return *known;
}

std::vector<Ref<const Primitive>> primitives_of(const Tape& tape) {
  std::vector<Ref<const Primitive>> out(tape.nodes.size());
  for (Slot s = 0; s < tape.nodes.size(); ++s)
    if (!tape.is(s, Tape::leaf)) out[s] = tape.nodes[s]->primitive;
  return out;
}

void keep_unfolded(const Tape& folded, std::vector<Ref<const Primitive>> primitives, Tape& unfolded,
                   std::shared_ptr<const Plan> plan) {
  cache().expanded += !folded.calls.empty();
  using Place = Unfolded::Place;
  const auto is_call = [&](Slot s) {
    return std::binary_search(folded.calls.begin(), folded.calls.end(), s);
  };
  const auto is_result = [&](Slot s) {
    return folded.kinds[s] == Kind::pick && is_call(folded.inputs(s)[0].index());
  };
  std::unordered_map<const Node*, Place> known;
  for (const Slot s : folded.calls) {
    const auto captured = static_cast<const Composite&>(*primitives[s]).captured();
    for (std::uint32_t k = 0; k < captured.size(); ++k)
      known.insert({captured[k].node(), {Place::From::captured, s, k}});
  }
  for (Slot s = 0; s < folded.nodes.size(); ++s)  // calls are gone
    if (folded.nodes[s] && !is_call(s) &&
        !known.insert({folded.nodes[s], {Place::From::tape, s}}).second)
      return;  // another time the tape may have another array there

  auto result = std::make_shared<Unfolded>();
  if (unfolded.rewritten || !folded.calls.empty()) result->plan = std::move(plan);
  for (Slot s = 0; result->plan && s < unfolded.nodes.size(); ++s) {
    Node& n = *unfolded.nodes[s];
    const auto it = known.find(&n);
    Place& place = result->places.emplace_back(it == known.end() ? Place() : it->second);
    const bool on_tape = place.from == Place::From::tape;
    if (!unfolded.is(s, Tape::leaf)) {
      if (!on_tape && unfolded.is(s, Tape::held)) return;  // by someone else
      if (!on_tape || is_result(place.slot) || n.primitive != primitives[place.slot])
        place.node = array(n.primitive, n.shape, n.dtype, {}, n.stream);
    } else if (!on_tape) {
      if (n.status.load(std::memory_order_acquire) != Status::available) return;
      if (it == known.end()) {
        place.node = array(Ref<Node>(&n));
        unfolded.flags[s] |= Tape::kept;  // from now on: no step takes its memory over
      }
    }
  }
  for (const Node* c : unfolded.constants)
    result->constants.emplace_back(Ref<Node>(const_cast<Node*>(c)));
  if (folded.put_together) {
    for (const Slot s : folded.calls) primitives[s] = {};  // the key tells which
    for (const auto& p : primitives)
      if (p && !may_be_kept(*p)) return;
    result->primitives = std::move(primitives);
  }
  Words key = exact_key(folded);
  if (auto* old = cache().unfolded.find(key)) {
    *old = std::move(result);
    return;
  }
  const std::size_t weight = key.size() + 16 * result->places.size();
  cache().unfolded.insert(std::move(key), std::move(result), std::max(weight, Cache::kLeastWeight));
}

PlanCounts counts_of_plans() {
  const Cache& c = cache();
  return {c.made, c.found, c.plans.dropped(), Kernels::made, c.expanded};
}

}  // namespace cermet
