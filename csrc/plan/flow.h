// Flow: which nodes of a tape give those who read them an expression for each region instead of a
// value, so that they need no memory.
#pragma once

#include <unordered_set>
#include <vector>

#include "plan/region.h"
#include "plan/tape.h"

namespace cermet {

// What an operation costs for each element, in simple ones.
double cost_of(Op op);

class Flow {
 public:
  // What is among `outer` does not flow, nor is it looked into.
  Flow(const Tape& tape, const std::unordered_set<const Node*>& outer);

  enum class Role : std::uint8_t { other, elementwise, slice, pass, concatenate, update };
  struct Item {
    Role role = Role::other;  // but of what can take and give regions: other
    bool pure = true;         // it follows from no reduction but through memory
    bool forced = false;      // it may not flow
    bool needed = false;      // held, or read by what needs it in memory
    bool reduced = false;     // a reduction reads it
    bool bound = false;       // the same of what follows from it elementwise, or `spread`
    bool apart = false;       // elementwise work or slices read it
    bool spread = false;      // work on much more than it reads it
    bool in_parts = false;    // slices of it are needed
    bool flows = false;
    bool carries = false;  // elementwise work flows through it
    bool touched = false;  // it reads what flows in another form
    int depth = 0;
    double weight = 0;  // operations for each element
    std::vector<Region> demands;
  };

  const Tape& tape;
  std::vector<Item> items;  // by slot
  // Some parts of a rest were left out, as they would be too many.
  bool overflow = false;

  const Node& node(Slot s) const { return *tape.nodes[s]; }
  bool flows(Operand o) const { return !o.is_constant() && items[o.index()].flows; }
  // A concatenation or a slice update.
  bool is_assembled(Slot s) const {
    return items[s].role == Role::concatenate || items[s].role == Role::update;
  }
  // Whether something else stands for a node that flows, even for all of it.
  bool is_replaced(Operand o) const {
    return flows(o) && (items[o.index()].touched || is_assembled(o.index()));
  }
  // Says it for all nodes, as it follows from `forced` and `needed`.
  void decide();
  // What a node is assembled of, below, does not flow; where nothing is, the node is left alone.
  void force_below(Slot s);

  Region region_of_slice(Slot s) const {
    const auto& p = static_cast<const Slice&>(*node(s).primitive);
    return region_of(p.start, p.step, node(s).shape);
  }

  // The axis of a node that axis `i` of its input follows, or -1: the input has one element there.
  std::vector<int> axes_of(Slot s, const Shape& input) const {
    const Shape& shape = node(s).shape;
    std::vector<int> axes(input.size(), -1);
    if (tape.kinds[s] == Kind::reshape || tape.kinds[s] == Kind::identity) {
      std::size_t at = 0;
      for (std::size_t i = 0; i < input.size(); ++i) {
        if (input[i] == 1) continue;
        while (shape[at] == 1) ++at;
        axes[i] = static_cast<int>(at++);
      }
      return axes;
    }
    for (std::size_t i = 0; i < input.size(); ++i)
      if (input[i] != 1) axes[i] = static_cast<int>(i + shape.size() - input.size());
    return axes;
  }

  // Calls visit(operand, its region, which elements of `region` these are, its number) for what a
  // region of a node consists of: for elementwise work each operand, for others each part.
  template <class F>
  void for_each_part(Slot s, const Region& region, F visit) {
    const auto inputs = tape.inputs(s);
    const Region all = whole_of(shape_of(region));
    switch (items[s].role) {
      case Role::elementwise:
      case Role::pass:
        for (std::size_t k = 0; k < inputs.size(); ++k) {
          const Operand o = inputs[k];
          const Shape& shape = tape.node(o).shape;
          Region in(shape.size(), Range{0, 1, 1});
          const auto axes = axes_of(s, shape);
          for (std::size_t i = 0; i < in.size(); ++i)
            if (axes[i] >= 0) in[i] = region[static_cast<std::size_t>(axes[i])];
          visit(o, in, all, k);
        }
        return;
      case Role::slice: {
        const Region of = compose(region_of_slice(s), region);
        if (const std::uint32_t k = exact_update(s)) {
          const Slot update = inputs[0].index();
          visit(tape.inputs(update)[k], region, all, 0);
        } else {
          visit(inputs[0], of, all, 0);
        }
        return;
      }
      case Role::concatenate: {
        const auto axis =
            static_cast<std::size_t>(static_cast<const Concatenate&>(*node(s).primitive).axis);
        std::int64_t start = 0;
        for (std::size_t k = 0; k < inputs.size(); ++k) {
          const Operand o = inputs[k];
          Region part = whole_of(tape.node(o).shape);
          part[axis].start = start;
          if (const auto both = common(region, part)) {
            Region in = compose(region, *both);
            in[axis].start -= start;
            visit(o, in, *both, k);
          }
          start += part[axis].count;
        }
        return;
      }
      case Role::update: {
        std::vector<Region> rest{all};
        const Node& n = node(s);
        for (std::size_t k = 1; k < inputs.size(); ++k) {
          const Region update = region_of(n, k);
          if (const auto both = common(region, update))
            visit(inputs[k], numbers_in(update, compose(region, *both)), *both, k);
          std::vector<Region> left;
          for (const Region& r : rest) {
            const auto gone = common(compose(region, r), update);
            std::vector<Region> pieces;
            if (!gone)
              left.push_back(r);
            else if (add_rest(r, *gone, pieces))
              for (const Region& piece : pieces) left.push_back(compose(r, piece));
            else
              overflow = true;
          }
          rest = std::move(left);
        }
        for (const Region& r : rest) visit(inputs[0], compose(region, r), r, 0);
        return;
      }
      default: return;
    }
  }

 private:
  Role role_of(Slot s, const std::unordered_set<const Node*>& outer) const;
  void note_reads(Slot s);
  void weigh(Slot s);
  void bind(Slot s, Operand o);
  bool can_flow(Slot s) const;
  void demand(Operand o, Region region);
  void demand_inputs(Slot s, const Region& region);
  std::uint32_t exact_update(Slot s) const;
};

}  // namespace cermet
