// Elementwise work on what is put together of parts (a concatenation, a pad, a slice update) is
// done on each part, and a slice of elementwise work is work on slices.
//
// Along regions, nodes that flow fall into *cells*, which one expression is for. Of what does not
// flow itself, each cell becomes an update of its memory.
#include <algorithm>
#include <map>

#include "plan/flow.h"
#include "plan/rewrite.h"

namespace cermet {
namespace {

constexpr int kMostTries = 8;
constexpr std::size_t kMostCells = 64;
constexpr std::int64_t kLarge = 1 << 18;  // elements

// A step for each cell must be worth it, small as most are.
std::size_t most_cells(std::int64_t size) {
  return size < kLarge / 4 ? 2 : size < kLarge ? 5 : kMostCells / 2;
}

class Pieces {
 public:
  Pieces(const Tape& tape, const std::unordered_set<const Node*>& outer) : flow_(tape, outer) {}

  bool run() {
    int tries = 0;
    do {
      if (tries++ == kMostTries) return false;
      flow_.decide();
    } while (!find_roots());
    align();
    // Slices that are there serve again.
    for (Slot s = 0; s < flow_.items.size(); ++s)
      if (const Flow::Item& i = flow_.items[s]; i.role == Flow::Role::slice && !i.touched) {
        const Operand of = flow_.tape.inputs(s)[0];
        if (!of.is_constant() && !flow_.flows(of))
          values_.try_emplace(key_of(of.index(), flow_.region_of_slice(s)),
                              handle(Operand::node(s)));
      }
    for (const Root& root : roots_) rewrite(root);
    for (Change& c : changes_) {  // what was dropped before is read above
      c.node->primitive = std::move(c.primitive);
      c.node->inputs = std::move(c.inputs);
    }
    return !roots_.empty();
  }

 private:
  // What an operand has in region `in` (or the node's own expression there) is the node's `at`.
  struct Cell {
    Region at;
    Operand from;
    Region in;
  };
  struct Root {
    Slot slot;
    Operand base;  // what its cells update; itself: nothing
    std::vector<Cell> cells;
  };
  struct Change {
    Ref<Node> node;
    Ref<const Primitive> primitive;
    SmallVector<array, 2> inputs;
  };

  array handle(Operand o) const { return array(Ref<Node>(const_cast<Node*>(&flow_.tape.node(o)))); }

  using Key = std::vector<std::int64_t>;
  static Key key_of(Slot s, const Region& region) {
    Key key{s};
    for (const Range& r : region) key.insert(key.end(), {r.start, r.step, r.count});
    return key;
  }

  // The cells of a region of a node, by their numbers in the region.
  std::vector<Region> cells(Operand o, const Region& region) {
    if (!flow_.is_replaced(o)) return {whole_of(shape_of(region))};
    const auto [known, added] = cells_.try_emplace(key_of(o.index(), region));
    if (added) known->second = cells_below(o.index(), region);
    return known->second;
  }
  // The same for a node whose expression is wanted, whether it flows or not.
  std::vector<Region> cells_below(Slot s, const Region& region) {
    std::vector<Region> out;
    const Flow::Role role = flow_.items[s].role;
    const bool parts =
        role == Flow::Role::concatenate || role == Flow::Role::update || role == Flow::Role::slice;
    if (!parts) out.push_back(whole_of(shape_of(region)));
    flow_.for_each_part(s, region,
                        [&](Operand o, const Region& in, const Region& where, std::size_t) {
                          const std::vector<Region> below = cells(o, in);
                          if (parts) {
                            for (const Region& cell : below) out.push_back(compose(where, cell));
                          } else if (below.size() > 1) {
                            const auto axes = flow_.axes_of(s, flow_.tape.node(o).shape);
                            std::vector<Region> finer;
                            for (const Region& cell : below) {
                              Region wide = whole_of(shape_of(region));
                              for (std::size_t i = 0; i < axes.size(); ++i)
                                if (axes[i] >= 0) wide[static_cast<std::size_t>(axes[i])] = cell[i];
                              for (const Region& c : out)
                                if (const auto both = common(c, wide))
                                  finer.push_back(compose(c, *both));
                            }
                            out = std::move(finer);
                          }
                          if (out.size() > kMostCells) flow_.overflow = true;
                        });
    return out;
  }

  // ---- Roots: what is to be rewritten ----

  // False where one falls into too many cells: then what it is put together of does not flow.
  bool find_roots() {
    roots_.clear();
    cells_.clear();
    for (Slot s = 0; s < flow_.items.size(); ++s) {
      const Flow::Item& i = flow_.items[s];
      if (i.role == Flow::Role::other || !i.touched || (i.flows && !i.reduced)) continue;
      flow_.overflow = false;
      Root root = root_of(s);
      const std::size_t given = flow_.is_assembled(s) ? flow_.tape.inputs(s).size() : 0;
      if (flow_.overflow || root.cells.size() > given + most_cells(flow_.node(s).size)) {
        flow_.force_below(s);
        return false;
      }
      roots_.push_back(std::move(root));
    }
    return true;
  }
  Root root_of(Slot s) {
    const Operand self = Operand::node(s);
    Root root{s, self, {}};
    std::vector<Region> left{whole_of(flow_.node(s).shape)};
    // What is not updated stays in the base, as long as that is in memory.
    while (root.base == self ? flow_.items[s].role == Flow::Role::update
                             : flow_.flows(root.base) &&
                                   flow_.items[root.base.index()].role == Flow::Role::update) {
      const Slot at = root.base.index();
      root.base = flow_.tape.inputs(at)[0];
      std::vector<Region> rest;
      for (const Region& r : left)
        flow_.for_each_part(
            at, r, [&](Operand o, const Region& in, const Region& where, std::size_t k) {
              if (k == 0)
                rest.push_back(compose(r, where));
              else
                for (const Region& cell : cells(o, in))
                  root.cells.push_back({compose(compose(r, where), cell), o, compose(in, cell)});
            });
      left = std::move(rest);
    }
    if (root.base != self && !flow_.flows(root.base)) return root;
    for (const Region& r : left)
      for (const Region& cell : root.base == self ? cells_below(s, r) : cells(root.base, r))
        root.cells.push_back({compose(r, cell), root.base, compose(r, cell)});
    root.base = self;
    return root;
  }

  // Cuts large roots of one shape so that most of them is the same region: work on this part of
  // them can be one program.
  void align() {
    for (std::size_t i = 0; i < roots_.size(); ++i) {
      const Shape& shape = flow_.node(roots_[i].slot).shape;
      const std::int64_t size = flow_.node(roots_[i].slot).size;
      if (size < kLarge) continue;
      Region core = whole_of(shape);
      std::vector<std::pair<Root*, std::size_t>> cut;
      bool first = true;
      for (Root& root : roots_) {
        if (flow_.node(root.slot).shape != shape || root.cells.size() < 2) continue;
        const auto largest = std::max_element(
            root.cells.begin(), root.cells.end(),
            [](const Cell& a, const Cell& b) { return size_of(a.at) < size_of(b.at); });
        const auto both = common(core, largest->at);
        if (!both || 2 * size_of(*both) < size || !is_box(largest->at)) continue;
        if (first && &root != &roots_[i]) break;  // done before
        first = false;
        core = compose(core, *both);
        cut.emplace_back(&root, largest - root.cells.begin());
      }
      for (const auto& [root, k] : cut) {
        const Cell cell = root->cells[k];
        std::vector<Region> parts{*common(cell.at, core)};
        add_rest(cell.at, Region(parts[0]), parts);
        if (parts.size() == 1) continue;
        root->cells.erase(root->cells.begin() + static_cast<std::ptrdiff_t>(k));
        for (const Region& part : parts)
          root->cells.push_back({compose(cell.at, part), cell.from, compose(cell.in, part)});
      }
    }
  }
  static bool is_box(const Region& region) {
    return std::all_of(region.begin(), region.end(), [](const Range& r) { return r.step == 1; });
  }

  // ---- Values ----

  // The array that is a node's elements in a region, which lies in one cell.
  array value(Operand o, const Region& region) {
    const bool whole = region == whole_of(flow_.tape.node(o).shape);
    if (o.is_constant() || (whole && !flow_.is_replaced(o))) return handle(o);
    const auto [known, added] = values_.try_emplace(key_of(o.index(), region), handle(o));
    if (added) {
      const array made =
          flow_.flows(o) ? expression(o.index(), region) : slice_of(handle(o), region);
      values_.insert_or_assign(key_of(o.index(), region), made);
      return made;
    }
    return known->second;
  }
  static array slice_of(const array& a, const Region& region) {
    auto [start, step] = slice(region);
    return array(make_ref<const Slice>(std::move(start), std::move(step)), shape_of(region),
                 a.dtype(), {a}, a.stream());
  }
  static SliceUpdate::Slice slice(const Region& region) {
    SliceUpdate::Slice out;
    for (const Range& r : region) {
      out.start.push_back(r.start);
      out.step.push_back(r.step);
    }
    return out;
  }
  array expression(Slot s, const Region& region) {
    const Node& n = flow_.node(s);
    const Shape shape = shape_of(region);
    SmallVector<array, 2> inputs;
    flow_.for_each_part(s, region, [&](Operand o, const Region& in, const Region&, std::size_t) {
      inputs.push_back(value(o, in));
    });
    switch (flow_.items[s].role) {
      case Flow::Role::elementwise:
        return array(n.primitive, shape, n.dtype, std::move(inputs), n.stream);
      case Flow::Role::pass:
        if (inputs[0].node()->shape == shape) return inputs[0];
        if (flow_.tape.kinds[s] == Kind::broadcast)
          return array(n.primitive, shape, n.dtype, std::move(inputs), n.stream);
        return array(make_ref<const Reshape>(shape), shape, n.dtype, std::move(inputs), n.stream);
      default: return inputs[0];  // the one part
    }
  }

  void rewrite(const Root& root) {
    const Slot s = root.slot;
    const Node& n = flow_.node(s);
    const Operand self = Operand::node(s);
    const auto value_of = [&](const Cell& c) {
      return c.from == self ? expression(s, c.in) : value(c.from, c.in);
    };
    const bool assembled = root.base != self || flow_.items[s].role == Flow::Role::update;
    SmallVector<array, 2> inputs;
    if (has_cell_for_each(root)) {
      for (const Cell& c : root.cells) inputs.push_back(value_of(c));
      return change(s, n.primitive, std::move(inputs));
    }
    if (root.cells.size() == 1 && !assembled) {
      const array made = value_of(root.cells[0]);
      if (flow_.items[s].role == Flow::Role::elementwise)
        return change(s, n.primitive, made.inputs());
      return change(s, Identity::instance(Identity::Why::depends), {made});
    }
    inputs.push_back(root.base != self ? handle(root.base)
                                       : array(the<Broadcast>(), n.shape, n.dtype,
                                               {array(0.0, n.dtype)}, n.stream));
    if (root.cells.empty())
      return change(s, Identity::instance(Identity::Why::depends), std::move(inputs));
    std::vector<SliceUpdate::Slice> slices;
    for (const Cell& c : root.cells) {
      slices.push_back(slice(c.at));
      inputs.push_back(value_of(c));
    }
    change(s, make_ref<const SliceUpdate>(std::move(slices)), std::move(inputs));
  }
  // Whether the parts of a concatenation are its cells.
  bool has_cell_for_each(const Root& root) const {
    const auto inputs = flow_.tape.inputs(root.slot);
    bool equal = flow_.items[root.slot].role == Flow::Role::concatenate &&
                 root.cells.size() == inputs.size();
    for (std::size_t k = 0; equal && k < inputs.size(); ++k)
      equal = shape_of(root.cells[k].at) == flow_.tape.node(inputs[k]).shape;
    return equal;
  }
  void change(Slot s, Ref<const Primitive> primitive, SmallVector<array, 2> inputs) {
    changes_.push_back({Ref<Node>(flow_.tape.nodes[s]), std::move(primitive), std::move(inputs)});
  }

  Flow flow_;
  std::vector<Root> roots_;
  std::map<Key, std::vector<Region>> cells_;
  std::map<Key, array> values_;
  std::vector<Change> changes_;
};

}  // namespace

bool flow_through(const Tape& tape, const std::unordered_set<const Node*>& outer) {
  return Pieces(tape, outer).run();
}

}  // namespace cermet
