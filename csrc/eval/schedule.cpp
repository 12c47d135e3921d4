// The tape and its fusion.
//
// Fusion walks the tape backwards and puts each node into the cluster of its consumers where it
// can. Every cluster has a level, above that of all clusters that consume its results; a node joins
// the highest cluster among its consumers, so clusters never form a cycle. Nodes that are consumed
// by two clusters of one level and one domain merge them.
#include "eval/schedule.h"

#include <algorithm>
#include <bit>
#include <unordered_map>

#include "eval/batch.h"
#include "graph/primitive.h"

namespace cermet {
namespace {

using Mask = std::uint64_t;  // a set of a domain's axes
using Slot = std::uint32_t;

constexpr int kMaxInstructions = 1024;     // of one program: its code then stays in the cache
constexpr std::size_t kMaxGpuArrays = 24;  // that one reads and writes: Metal binds 31 buffers
// That one on the CPU reads and other steps compute: they are held at once.
constexpr std::size_t kMaxComputed = 32;
constexpr int kNone = -1;

// What fusion makes of a node.
// A unit_reshape (or an identity) has its input's elements in the same order.
enum class Role : std::uint8_t { leaf, opaque, elementwise, broadcast, unit_reshape, reduce };

struct Item {
  Node* node;
  Role role = Role::opaque;
  bool external = false;  // someone outside the tape holds it
  bool escapes = false;   // read outside its cluster
  bool retain = false;    // a trace needs its graph
  // The highest cluster that consumes it, and where its axes lie in that cluster's domain.
  bool blocked = false;   // it cannot join that cluster
  bool extended = false;  // `mask` is over the domain as extended by a reduction
  bool shared = false;    // read by clusters of several levels
  bool spread = false;    // a value a row that full ones of its cluster follow from
  int want = kNone;
  int level = kNone;
  Mask mask = 0;
  int cluster = kNone;
  int origin = kNone;  // the slot of a reduction it follows from elementwise
  std::uint32_t uses = 0;
  ValueId value = kNoValue;
};

struct Cluster {
  bool fusible = false;
  bool extended = false;
  int level = 0;
  int parent = kNone;  // merged into
  int instructions = 0;
  Stream stream;
  Shape domain;  // extents other than 1
  Mask reduced = 0;
  std::vector<Slot> members;
  // What the members read and nobody in the cluster computes so far: for a GPU all of it, else what
  // is to be computed. And how many arrays a GPU writes.
  std::vector<const Node*> read;
  std::size_t written = 0;
};

Shape without_units(const Shape& shape) {
  Shape out;
  for (auto d : shape)
    if (d != 1) out.push_back(d);
  return out;
}

bool is_gpu(Stream s) { return s.device.type == DeviceType::gpu; }

Mask all_axes(std::size_t n) { return n >= 64 ? ~Mask{0} : (Mask{1} << n) - 1; }

// The mask of an input that broadcasts to `shape`, whose axes lie at `mask`.
Mask broadcast_mask(const Shape& shape, Mask mask, const Shape& input) {
  if (input == shape) return mask;
  Mask out = 0;
  const std::size_t skip = shape.size() - input.size();
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 1) continue;
    const Mask axis = mask & -mask;
    mask ^= axis;
    if (i >= skip && input[i - skip] != 1) out |= axis;
  }
  return out;
}

class Planner {
 public:
  explicit Planner(const Arrays& outputs) {
    record(outputs);
    classify(outputs);
    cluster();
  }

  Schedule finish() {
    for (const Item& item : items_)
      if (item.role != Role::leaf)
        for (const array& in : item.node->inputs)
          if (Item* p = producer(in); p && find(p->cluster) != find(item.cluster))
            p->escapes = true;
    retain();
    Schedule out;
    out.dependencies = std::move(dependencies_);
    for (int c : order()) out.steps.push_back(make_step(clusters_[c]));
    return out;
  }

 private:
  // ---- The tape ----

  // Lists what must be computed, inputs first. The walk keeps its own stack.
  void record(const Arrays& outputs) {
    static std::uint32_t epoch = 0;  // under graph_mutex()
    epoch_ = ++epoch;
    struct Frame {
      Node* node;
      std::size_t next;
    };
    std::vector<Frame> stack;
    for (const array& out : outputs) {
      enter(out.node(), [&](Node* n) { stack.push_back({n, 0}); });
      while (!stack.empty()) {
        Frame& top = stack.back();
        if (top.next < top.node->inputs.size()) {
          Node* child = top.node->inputs[top.next++].node();
          if (!is_immediate(child)) enter(child, [&](Node* n) { stack.push_back({n, 0}); });
        } else {
          add(top.node, Role::opaque);
          stack.pop_back();
        }
      }
    }
  }

  static bool is_immediate(const Node* n) { return n->constant; }

  template <class Push>
  void enter(Node* n, Push&& push) {
    if (n->mark == epoch_) return;
    n->mark = epoch_;
    switch (n->status.load(std::memory_order_acquire)) {
      case Status::available:
      case Status::failed: add(n, Role::leaf); return;  // a failed input fails its step
      case Status::scheduled:
      case Status::encoded: {
        if (std::find(dependencies_.begin(), dependencies_.end(), n->batch) == dependencies_.end())
          dependencies_.push_back(n->batch);
        add(n, Role::leaf);
        return;
      }
      case Status::lazy: push(n);
    }
  }

  void add(Node* n, Role role) {
    n->slot = static_cast<std::uint32_t>(items_.size());
    items_.push_back({});
    items_.back().node = n;
    items_.back().role = role;
  }

  Item& item(const array& a) { return items_[a.node()->slot]; }
  // The item that computes an input, or null for a leaf or a constant.
  Item* producer(const array& a) {
    if (is_immediate(a.node())) return nullptr;
    Item& i = item(a);
    return i.role == Role::leaf ? nullptr : &i;
  }

  void classify(const Arrays& outputs) {
    for (const Item& i : items_)
      if (i.role != Role::leaf)
        for (const array& in : i.node->inputs)
          if (!is_immediate(in.node())) ++item(in).uses;
    for (Item& i : items_)
      if (i.role != Role::leaf) i.external = i.node->refs() > i.uses;
    for (const array& out : outputs)
      if (out.node()->mark == epoch_) item(out).external = true;
    for (Slot s = 0; s < items_.size(); ++s)
      if (items_[s].role != Role::leaf) classify(s);
  }

  void classify(Slot s) {
    Item& i = items_[s];
    const Node& n = *i.node;
    switch (n.primitive->kind()) {
      case Kind::elementwise:
        i.role = Role::elementwise;
        for (const array& in : n.inputs)
          if (Item* p = producer(in); p && p->origin != kNone && in.size() == n.size) {
            i.origin = p->origin;
            break;
          }
        break;
      case Kind::reduce:
        if (n.inputs[0].size() == 0) break;
        if (reduced_mask(n)) {
          i.role = Role::reduce;
          i.origin = static_cast<int>(s);
          break;
        }
        [[fallthrough]];  // over unit axes alone
      case Kind::identity:
        if (n.inputs.size() > 1) break;
        [[fallthrough]];
      case Kind::reshape: {
        if (without_units(n.shape) != without_units(n.inputs[0].shape())) break;
        const Item* p = producer(n.inputs[0]);
        const bool computed = p && !p->external &&
                              (p->role == Role::elementwise || p->role == Role::reduce ||
                               p->role == Role::unit_reshape);
        if (i.external && !computed) break;  // a view costs nothing
        i.role = Role::unit_reshape;
        if (computed) i.origin = p->origin;
        break;
      }
      case Kind::broadcast:
        if (!i.external) i.role = Role::broadcast;
        break;
      default: break;
    }
    if (n.shape.size() > 60) i.role = Role::opaque;  // masks have 64 bits
  }

  // ---- Clusters ----

  int find(int c) {
    while (clusters_[c].parent != kNone) c = clusters_[c].parent;
    return c;
  }

  void cluster() {
    for (Slot s = static_cast<Slot>(items_.size()); s-- > 0;) {
      Item& i = items_[s];
      if (i.role == Role::leaf) continue;
      if (!(i.want != kNone && !i.blocked && join(i, find(i.want)))) found(s);
      Cluster& c = clusters_[i.cluster];
      c.members.push_back(s);
      c.instructions += i.role == Role::elementwise || i.role == Role::reduce;
      ask_inputs(i);
    }
  }

  // Starts a cluster for a node that joins none.
  void found(Slot s) {
    Item& i = items_[s];
    const Node& n = *i.node;
    Cluster c;
    c.level = i.level + 1;
    c.stream = n.stream;
    if (i.role == Role::unit_reshape) {
      const Item* p = producer(n.inputs[0]);
      if (!p || p->role == Role::opaque) i.role = Role::opaque;
    }
    if (i.role == Role::broadcast) i.role = Role::opaque;
    if (i.role != Role::opaque) {
      c.fusible = true;
      i.extended = false;
      if (i.role == Role::reduce) {
        c.domain = without_units(n.inputs[0].shape());
        c.reduced = reduced_mask(n);
        c.extended = i.extended = true;
        i.mask = all_axes(c.domain.size()) & ~c.reduced;
      } else {
        c.domain = without_units(n.shape);
        i.mask = all_axes(c.domain.size());
      }
    }
    read_with(c, n);
    c.read = read_;
    c.written = writes(i, true);
    i.cluster = static_cast<int>(clusters_.size());
    clusters_.push_back(std::move(c));
  }

  // What counts of an input among the arrays that a cluster reads, or null.
  const Node* counted(const array& in, bool gpu) {
    const Node* n = in.node();
    if (is_immediate(n)) return nullptr;
    if (gpu) return n;
    while (items_[n->slot].role == Role::opaque && is_view(n->primitive->kind()))
      n = n->inputs[0].node();  // it takes no memory of its own
    return is_immediate(n) || items_[n->slot].role == Role::leaf ? nullptr : n;
  }
  // Puts into read_ what a cluster reads once a node is in it.
  void read_with(const Cluster& c, const Node& n) {
    read_ = c.read;
    std::erase(read_, &n);
    for (const array& in : n.inputs)
      if (const Node* from = counted(in, is_gpu(c.stream));
          from && std::find(read_.begin(), read_.end(), from) == read_.end())
        read_.push_back(from);
  }
  // Whether so many arrays are too many for one program.
  static bool too_many(Stream s, std::size_t read, std::size_t written) {
    return is_gpu(s) ? read + written > kMaxGpuArrays : read > kMaxComputed;
  }

  static Mask reduced_mask(const Node& n) {
    const Axes& axes = static_cast<const Reduce&>(*n.primitive).axes;
    const Shape& shape = n.inputs[0].shape();
    Mask mask = 0;
    int axis = 0;
    for (int d = 0; d < static_cast<int>(shape.size()); ++d) {
      if (shape[d] == 1) continue;
      if (std::find(axes.begin(), axes.end(), d) != axes.end()) mask |= Mask{1} << axis;
      ++axis;
    }
    return mask;
  }

  // Whether a GPU makes a reduction in chunks. What follows from it in full is then another
  // program, as the chunks of all rows must be done before.
  static bool in_chunks(const Node& reduction) {
    if (!is_gpu(reduction.stream)) return false;
    const Shape domain = without_units(reduction.inputs[0].shape());
    const Mask reduced = reduced_mask(reduction);
    std::int64_t outer = 1, length = 1, inner = 1;
    for (int a = 0; a < static_cast<int>(domain.size()); ++a)
      (reduced >> a & 1 ? length : reduced >> a ? outer : inner) *= domain[a];
    return reduction_chunks(outer, length, inner) > 1;
  }

  // Moves an item's mask to the domain as extended since the mask was noted.
  void refresh(Item& i, const Cluster& c) {
    if (i.extended == c.extended) return;
    i.extended = c.extended;
    i.mask = extend(i.mask, c);
  }
  static Mask extend(Mask mask, const Cluster& c) {
    Mask out = 0, kept = all_axes(c.domain.size()) & ~c.reduced;
    for (; kept; kept &= kept - 1, mask >>= 1)
      if (mask & 1) out |= kept & -kept;
    return out;
  }

  // Tries to add a node to the cluster that wants it.
  bool join(Item& i, int index) {
    Cluster& c = clusters_[index];
    const Node& n = *i.node;
    if (i.role == Role::opaque || !c.fusible || n.stream != c.stream ||
        c.instructions >= kMaxInstructions)
      return false;
    const std::size_t written = c.written + writes(i, i.external || i.shared);
    read_with(c, n);
    if (too_many(c.stream, read_.size(), written)) return false;
    refresh(i, c);
    const Mask full = all_axes(c.domain.size());
    const Mask kept = full & ~c.reduced;
    if (i.role == Role::reduce) {
      if (i.spread && in_chunks(n)) return false;
      const Mask reduced = reduced_mask(n);
      const Shape domain = without_units(n.inputs[0].shape());
      if (!c.reduced && i.mask == full && reduced && domain != c.domain) {
        // Everything so far is a value a row of the larger domain.
        c.domain = domain;
        c.reduced = reduced;
        c.extended = true;
        for (Slot m : c.members) refresh(items_[m], c);
        refresh(i, c);
      } else if (c.reduced) {
        if (domain != c.domain || reduced != c.reduced || i.mask != kept) return false;
      } else {
        if (domain != c.domain || !reduced || i.mask != (full & ~reduced)) return false;
        c.reduced = reduced;
      }
    } else if (i.mask != full && !(c.reduced && i.mask == kept)) {
      // A value of fewer axes is worth computing a row only when it comes from a reduction that
      // can join, too.
      if (c.reduced || i.origin == kNone) return false;
      const Node& r = *items_[i.origin].node;
      if (in_chunks(r)) return false;
      const Mask reduced = reduced_mask(r);
      if (i.mask != (full & ~reduced) || without_units(r.inputs[0].shape()) != c.domain)
        return false;
      c.reduced = reduced;
    }
    i.cluster = index;
    c.read.swap(read_);
    c.written = written;
    return true;
  }

  // The buffers an item adds to what its program writes: a result, a reduction's chunks.
  static std::size_t writes(const Item& i, bool result) {
    return result + (i.role == Role::reduce && in_chunks(*i.node));
  }

  void ask_inputs(Item& i) {
    const Node& n = *i.node;
    const Cluster& c = clusters_[i.cluster];
    for (const array& in : n.inputs) {
      if (is_immediate(in.node())) continue;
      Mask mask = i.mask;
      if (i.role == Role::elementwise || i.role == Role::broadcast)
        mask = broadcast_mask(n.shape, i.mask, in.shape());
      else if (i.role == Role::reduce)
        mask = all_axes(c.domain.size());
      const Mask full = all_axes(c.domain.size());
      if (i.role != Role::opaque && i.role != Role::reduce)
        item(in).spread |= i.spread || (i.mask == full && mask != full);
      ask(item(in), i.cluster, i.role != Role::opaque, mask);
    }
  }

  void ask(Item& i, int cluster, bool fusible, Mask mask) {
    const Cluster& c = clusters_[cluster];
    const int want = i.want == kNone ? kNone : find(i.want);
    i.shared |= want != kNone && want != find(cluster);
    if (want == kNone || c.level > i.level) {
      i.want = cluster;
      i.level = c.level;
      i.blocked = !fusible;
      i.mask = mask;
      i.extended = c.extended;
    } else if (c.level == i.level && !i.blocked) {
      refresh(i, clusters_[want]);
      i.blocked = !fusible || mask != i.mask || (want != cluster && !merge(want, cluster, mask));
    }
  }

  // Joins two clusters of one level that read the same full value.
  bool merge(int a, int b, Mask mask) {
    if (clusters_[a].members.size() < clusters_[b].members.size()) std::swap(a, b);
    Cluster& into = clusters_[a];
    Cluster& from = clusters_[b];
    if (!into.fusible || !from.fusible || into.extended != from.extended ||
        into.stream != from.stream || into.domain != from.domain ||
        mask != all_axes(into.domain.size()) || into.domain.empty() ||
        (into.reduced && from.reduced && into.reduced != from.reduced) ||
        into.instructions + from.instructions > kMaxInstructions ||
        too_many(into.stream, into.read.size() + from.read.size(), into.written + from.written))
      return false;
    into.read.insert(into.read.end(), from.read.begin(), from.read.end());
    into.written += from.written;
    into.reduced |= from.reduced;
    into.instructions += from.instructions;
    into.members.insert(into.members.end(), from.members.begin(), from.members.end());
    for (Slot m : from.members) items_[m].cluster = a;
    from.members = {};
    from.parent = a;
    return true;
  }

  // The clusters in the order to run them: depth first from the outputs, so that intermediates are
  // used soon after they are made.
  std::vector<int> order() {
    std::vector<int> out;
    std::vector<char> seen(clusters_.size());
    struct Frame {
      int cluster;
      std::size_t member, input;
    };
    std::vector<Frame> stack;
    for (const Item& root : items_) {
      if (root.role == Role::leaf || !root.external || seen[root.cluster]) continue;
      seen[root.cluster] = 1;
      stack.push_back({root.cluster, 0, 0});
      while (!stack.empty()) {
        Frame& f = stack.back();
        const auto& members = clusters_[f.cluster].members;
        if (f.member == members.size()) {
          out.push_back(f.cluster);
          stack.pop_back();
          continue;
        }
        const auto& inputs = items_[members[members.size() - 1 - f.member]].node->inputs;
        if (f.input == inputs.size()) {
          ++f.member;
          f.input = 0;
          continue;
        }
        const Item* p = producer(inputs[f.input++]);
        if (p && !seen[p->cluster]) {
          seen[p->cluster] = 1;
          stack.push_back({p->cluster, 0, 0});
        }
      }
    }
    return out;
  }

  // What a trace needs keeps its graph, down to what gets a value.
  void retain() {
    for (auto i = items_.rbegin(); i != items_.rend(); ++i) {
      if (i->role == Role::leaf) continue;
      i->retain |= is_traced(*i->node);
      if (!i->retain) continue;
      for (const array& in : i->node->inputs)
        if (Item* p = producer(in); p && !p->external && !p->escapes) p->retain = true;
    }
  }

  // ---- Steps ----

  Step make_step(Cluster& c) {
    std::sort(c.members.begin(), c.members.end());
    Step step;
    step.stream = c.stream;
    step.members.reserve(c.members.size());
    for (Slot s : c.members) step.members.push_back({Ref<Node>(items_[s].node), items_[s].retain});
    if (c.fusible) {
      step.kind = Step::Kind::program;
      step.program = std::make_unique<Program>();
      build(c, *step.program, step.outputs);
    } else {
      Node* n = step.members[0].node.get();
      const Kind kind = n->primitive->kind();
      const bool reshapes = kind == Kind::reduce && n->inputs[0].size() != 0;
      step.kind = is_view(kind) || reshapes ? Step::Kind::view : Step::Kind::primitive;
      step.outputs = {n};
    }
    return step;
  }

  void build(const Cluster& c, Program& p, std::vector<Node*>& outputs) {
    const int axes = static_cast<int>(c.domain.size());
    // Axes in the program's order: outer kept, reduced, inner kept.
    const int last_reduced = c.reduced ? 63 - std::countl_zero(c.reduced) : -1;
    Axes position(axes);
    for (int group = 0; group < 3; ++group)
      for (int a = 0; a < axes; ++a) {
        const bool reduced = c.reduced >> a & 1;
        if (group != (reduced ? 1 : a < last_reduced ? 0 : 2)) continue;
        position[a] = static_cast<int>(p.domain.size());
        p.domain.push_back(c.domain[a]);
        p.outer += group == 0;
        p.reduced += group == 1;
      }

    std::unordered_map<std::uint64_t, ValueId> constants[kDtypeCount];
    std::unordered_map<Node*, std::vector<std::pair<Mask, ValueId>>> inputs;
    const Mask full = all_axes(c.domain.size());
    const auto extent_of = [&](Mask m) {
      if (m == full) return Extent::full;
      if (c.reduced && m == (full & ~c.reduced)) return Extent::row;
      if (m == 0) return Extent::scalar;
      return c.reduced && !(m & c.reduced) ? Extent::row : Extent::full;
    };
    const auto new_value = [&](Value v) {
      p.values.push_back(v);
      return static_cast<ValueId>(p.values.size() - 1);
    };
    // The value of an input of a member whose axes lie at `mask`.
    const auto operand = [&](const array& a, Mask mask, int cluster) -> ValueId {
      if (is_immediate(a.node())) {
        auto [it, added] =
            constants[static_cast<int>(a.dtype())].try_emplace(a.node()->scalar, kNoValue);
        if (added) {
          it->second = new_value({a.dtype(), Extent::scalar, Value::From::constant,
                                  static_cast<std::uint32_t>(p.constants.size())});
          p.constants.push_back(a.node()->scalar);
        }
        return it->second;
      }
      const Item& i = item(a);
      if (i.role != Role::leaf && i.cluster == cluster) return i.value;
      auto& known = inputs[a.node()];
      for (auto& [m, id] : known)
        if (m == mask) {
          ++p.inputs[p.values[id].index].references;
          return id;
        }
      ProgramInput in{a, {}, extent_of(mask), 1};
      for (Mask m = mask; m; m &= m - 1) in.axes.push_back(position[std::countr_zero(m)]);
      const ValueId id = new_value(
          {a.dtype(), in.extent, Value::From::input, static_cast<std::uint32_t>(p.inputs.size())});
      p.inputs.push_back(std::move(in));
      known.emplace_back(mask, id);
      return id;
    };
    // The pass from which on a value can be used.
    const auto ready = [&](ValueId id) -> std::uint16_t {
      const Value& v = p.values[id];
      return v.from == Value::From::instruction ? p.instructions[v.index].phase : 0;
    };
    const auto add_instruction = [&](Instruction ins, Dtype dtype, Extent extent) {
      for (ValueId v : ins.in)
        if (v != kNoValue) ins.phase = std::max(ins.phase, ready(v));
      if (ins.is_reduce) ++ins.phase;
      p.phases = std::max(p.phases, ins.phase + 1);
      ins.out = new_value({dtype, extent, Value::From::instruction,
                           static_cast<std::uint32_t>(p.instructions.size())});
      p.instructions.push_back(ins);
      return ins.out;
    };

    std::unordered_map<ValueId, std::size_t> written;
    for (Slot s : c.members) {
      Item& i = items_[s];
      refresh(i, c);
      const Node& n = *i.node;
      const int cluster = i.cluster;
      if (i.role == Role::elementwise) {
        Instruction ins;
        ins.op = static_cast<const Elementwise&>(*n.primitive).op;
        ins.compute = n.inputs.back().dtype();
        for (std::size_t k = 0; k < n.inputs.size(); ++k)
          ins.in[k] =
              operand(n.inputs[k], broadcast_mask(n.shape, i.mask, n.inputs[k].shape()), cluster);
        i.value = add_instruction(ins, n.dtype, extent_of(i.mask));
      } else if (i.role == Role::reduce) {
        Instruction ins;
        ins.is_reduce = true;
        ins.reduce = static_cast<const Reduce&>(*n.primitive).op;
        ins.compute = n.inputs[0].dtype();
        ins.in[0] = operand(n.inputs[0], full, cluster);
        i.value = add_instruction(ins, n.dtype, c.reduced ? Extent::row : Extent::full);
      } else {
        i.value = operand(n.inputs[0], broadcast_mask_of(i, n), cluster);
      }
      if (!i.external && !i.escapes) continue;
      if (const Value& v = p.values[i.value];
          v.from != Value::From::instruction || v.extent != extent_of(i.mask)) {
        // A copy of an input, or a broadcast row value.
        Instruction ins;
        ins.compute = n.dtype;
        ins.in[0] = i.value;
        i.value = add_instruction(ins, n.dtype, extent_of(i.mask));
      }
      outputs.push_back(i.node);
      const auto [it, added] = written.try_emplace(i.value, p.outputs.size());
      if (added) {
        ProgramOutput out{i.value, {}, Strides(p.domain.size())};
        const Strides strides = row_major(n.shape);
        Mask m = i.mask;
        for (std::size_t d = 0; d < n.shape.size(); ++d)
          if (n.shape[d] != 1) {
            out.strides[position[std::countr_zero(m)]] = strides[d];
            m &= m - 1;
          }
        p.outputs.push_back(std::move(out));
      }
      p.outputs[it->second].nodes.push_back(i.node);
    }
  }

  static Mask broadcast_mask_of(const Item& i, const Node& n) {
    return i.role == Role::broadcast ? broadcast_mask(n.shape, i.mask, n.inputs[0].shape())
                                     : i.mask;
  }

  std::uint32_t epoch_ = 0;
  std::vector<Item> items_;
  std::vector<Cluster> clusters_;
  std::vector<const Node*> read_;  // scratch space of join()
  std::vector<std::shared_ptr<Batch>> dependencies_;
};

}  // namespace

Schedule schedule(const Arrays& arrays) { return Planner(arrays).finish(); }

}  // namespace cermet
