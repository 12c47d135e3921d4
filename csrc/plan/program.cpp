// Row programs and plans as text.
#include "plan/program.h"

#include <algorithm>
#include <map>
#include <set>

#include "graph/primitive.h"
#include "graph/text.h"
#include "plan/plan.h"
#include "plan/region.h"

namespace cermet {

Op combine_op(ReduceOp r) {
  switch (r) {
    case ReduceOp::sum: return Op::add;
    case ReduceOp::prod: return Op::multiply;
    case ReduceOp::min: return Op::minimum;
    case ReduceOp::max: return Op::maximum;
    case ReduceOp::all: return Op::logical_and;
    case ReduceOp::any: return Op::logical_or;
  }
  return Op::add;
}

Strides over_domain(int domain_axes, const Axes& axes, const Shape& shape, const Strides& strides) {
  Strides out(domain_axes);
  int k = 0;
  for (std::size_t d = 0; d < shape.size(); ++d)
    if (shape[d] != 1) out[axes[k++]] = strides[d];
  return out;
}

namespace {

std::string type_of(const Node& n) { return std::string(name_of(n.dtype)) + to_string(n.shape); }

// The fewest digits that read back as the same number.
std::string shortest(double v) {
  for (int digits = 6;; ++digits) {
    Text out;
    out.precision(digits);
    out << v;
    if (digits == 17 || std::stod(out.str()) == v || v != v) return out.str();
  }
}

std::string constant_text(const Node& constant) {
  const array value(borrow(&constant.scalar, sizeof constant.scalar, {}), {}, constant.dtype);
  const auto z = value.item<std::complex<float>>();
  Text out;
  if (is_complex(constant.dtype))
    out << z.real() << (z.imag() < 0 ? "" : "+") << z.imag() << "j";
  else if (is_inexact(constant.dtype))
    out << shortest(value.item<double>());
  else
    out << value.item<std::int64_t>();
  return out.str();
}

std::string_view name_of(Extent e) {
  return e == Extent::full ? "full" : e == Extent::row ? "row" : "scalar";
}

std::string step_of(const Node& node) {
  const std::string params = node.primitive->parameters();
  return std::string(node.primitive->name()) + (params.empty() ? "" : " " + params);
}

// Where a result lies in another.
std::string text_of(const Place& place, const Tape& tape) {
  const Node& whole = *tape.nodes[place.whole];
  return ", operand " + std::to_string(place.operand) + " of " + step_of(whole) + " -> " +
         type_of(whole);
}

std::size_t bytes_of(const Node& n) { return static_cast<std::size_t>(n.size) * size_of(n.dtype); }

// Constants are not.
bool is_on(const Tape& tape, const Node& n) {
  return n.slot < tape.nodes.size() && tape.nodes[n.slot] == &n;
}

// An array that a step moves, and how many bytes of it.
struct Moved {
  const Node* array;
  std::size_t bytes;
};

// Whether a slice update can be written over its base.
bool overwrites_base(const Step& step, const Plan& plan, const Tape& tape,
                     const std::vector<Slot>& roots) {
  const auto known = plan.bases.find(step.outputs[0]);
  if (known == plan.bases.end()) return false;
  const Slot slot = known->second.slot, root = roots[slot];
  const Node& n = *tape.nodes[root];
  return std::find(step.last.begin(), step.last.end(), slot) != step.last.end() &&
         !((tape.flags[slot] | tape.flags[root]) & (Tape::held | Tape::kept)) &&
         (slot == root || tape.kinds[slot] == Kind::reshape) &&
         (n.buffer ? n.buffer->refs() == 1 : !is_view(tape.kinds[root])) &&
         may_overwrite(known->second, step.outputs[0], tape.nodes.data());
}

// What a step has to move: inputs that are not in their places, and what stays of a base.
std::vector<Moved> moved_by(const Step& step, const Plan& plan, const Tape& tape,
                            const std::vector<Slot>& roots) {
  const Node& node = *tape.nodes[step.outputs[0]];
  std::vector<Moved> moved;
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    const Node* in = node.inputs[i].node();
    std::size_t bytes = bytes_of(*in);
    if (i < step.reads.size() && !step.reads[i].is_constant() &&
        plan.place_of(step.reads[i].index(), tape.flags))
      continue;
    if (tape.kinds[step.outputs[0]] == Kind::slice_update && i == 0) {
      bytes = 0;
      if (!overwrites_base(step, plan, tape, roots))
        for (const Region& r : remainder_of(node))
          bytes += static_cast<std::size_t>(size_of(r)) * size_of(node.dtype);
      if (bytes == 0) continue;
    }
    // It is that input where that is row-major, as what has memory of its own is.
    if (tape.kinds[step.outputs[0]] == Kind::contiguous && is_on(tape, *in) &&
        roots[in->slot] == in->slot && (!in->buffer || in->strides == row_major(in->shape)))
      continue;
    moved.push_back({in, bytes});
  }
  return moved;
}

// Adds what is read of each array: of what there are views of, no more than all of it.
class Reads {
 public:
  Reads(const Tape& tape, const std::vector<Slot>& roots) : tape_(tape), roots_(roots) {}
  void add(Slot s, std::size_t bytes) { bytes_[s] += bytes; }
  std::size_t total() {
    std::size_t sum = 0;
    while (!bytes_.empty()) {  // from views to what they are of, which stands before them
      const auto [s, all] = *bytes_.rbegin();
      bytes_.erase(s);
      const Node& n = *tape_.nodes[s];
      const bool repeats = !tape_.is(s, Tape::leaf) && tape_.kinds[s] == Kind::broadcast;
      const std::size_t read = std::min(all, repeats ? size_of(n.dtype) : bytes_of(n));
      if (roots_[s] == s)
        sum += read;
      else
        bytes_[tape_.inputs(s)[0].index()] += repeats ? all : read;
    }
    return sum;
  }

 private:
  const Tape& tape_;
  const std::vector<Slot>& roots_;
  std::map<Slot, std::size_t> bytes_;
};

void print(std::ostream& out, const Program& p, const Plan& plan, const Tape& tape) {
  const auto name = [&](ValueId v) {
    const Value& x = p.values[v];
    if (x.from == Value::From::constant)
      return constant_text(*tape.constants[p.constants[x.index]]);
    return (x.from == Value::From::input ? "in" : "v") + std::to_string(x.index);
  };
  out << "domain " << to_string(domain_of(p, tape.nodes.data()));
  if (p.reduced)
    out << ", reduced axes " << p.outer << ".." << p.outer + p.reduced - 1 << ", passes "
        << p.phases;
  out << "\n";
  for (std::size_t i = 0; i < p.inputs.size(); ++i)
    out << "  in" << i << (i < p.products ? " = product " : " = load ")
        << type_of(*tape.nodes[p.inputs[i].slot]) << " " << name_of(p.inputs[i].extent) << "\n";
  for (std::size_t i = 0; i < p.instructions.size(); ++i) {
    const Instruction& ins = p.instructions[i];
    const Value& v = p.values[ins.out];
    out << "  v" << i << " = " << (ins.is_reduce ? "reduce_" : "")
        << (ins.is_reduce ? cermet::name_of(ins.reduce) : info(ins.op).name);
    for (int k = 0; k < 3 && ins.in[k] != kNoValue; ++k) out << (k ? ", " : " ") << name(ins.in[k]);
    out << " : " << cermet::name_of(v.dtype) << " " << name_of(v.extent) << "\n";
  }
  for (const ProgramOutput& o : p.outputs) {
    out << "  store " << name(o.value) << " -> " << type_of(*tape.nodes[o.slots[0]]);
    if (const Place* place = plan.place_of(o.slots[0], tape.flags)) out << text_of(*place, tape);
    out << "\n";
  }
}

}  // namespace

Shape domain_of(const Program& p, Node* const* nodes) {
  Shape domain;
  for (const Program::Axis& a : p.domain) domain.push_back(nodes[a.slot]->shape[a.axis]);
  return domain;
}

std::string to_string(const Plan& plan, const Tape& tape,
                      const std::function<std::string(const Step&)>& listing) {
  Text out;
  const std::vector<Slot> roots = roots_of(tape, plan);
  std::size_t read = 0, written = 0, number = 0;
  for (const Step& step : plan.steps) {
    const Node& node = *tape.nodes[step.outputs[0]];
    const auto moved = moved_by(step, plan, tape, roots);
    if (!step.program && moved.empty() && !node.inputs.empty()) continue;
    out << "step " << number++ << " on " << to_string(step.stream) << ": ";
    Reads reads(tape, roots);
    if (step.program) {
      for (const Step::Product& p : step.products) {
        out << step_of(*tape.nodes[p.slot]);
        for (const Operand in : p.reads) out << " " << type_of(tape.node(in));
        out << ", ";
      }
      out << (step.products.empty() ? "row program, " : "epilogue, ");
      print(out, *step.program, plan, tape);
      if (listing) out << listing(step);
      for_each_read(step, [&, seen = std::set<Slot>()](Slot s) mutable {
        if (seen.insert(s).second) reads.add(s, bytes_of(*tape.nodes[s]));
      });
      read += reads.total();
      for (const ProgramOutput& o : step.program->outputs)
        written += bytes_of(*tape.nodes[o.slots[0]]);
      continue;
    }
    out << (step.kind == Step::Kind::view ? "view " : "") << step_of(node);
    for (const auto& [in, bytes] : moved) {
      out << " " << type_of(*in);
      if (bytes != bytes_of(*in)) out << " (" << bytes << " bytes of it)";
    }
    out << " -> " << type_of(node);
    if (const Place* place = plan.place_of(step.outputs[0], tape.flags))
      out << text_of(*place, tape);
    out << "\n";
    if (step.kind == Step::Kind::view) continue;
    const bool moves =
        node.primitive->kind() == Kind::concatenate || node.primitive->kind() == Kind::slice_update;
    for (const auto& [in, bytes] : moved) {
      if (is_on(tape, *in))
        reads.add(in->slot, bytes);
      else
        read += bytes;  // a constant
      if (moves) written += bytes;
    }
    read += reads.total();
    if (!moves) written += bytes_of(node);
  }
  out << number << (number == 1 ? " step" : " steps") << ", reads " << read << " bytes, writes "
      << written << " bytes\n";
  return out.str();
}

}  // namespace cermet
