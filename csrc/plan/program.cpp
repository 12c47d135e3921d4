// Row programs and plans as text.
#include "plan/program.h"

#include <algorithm>
#include <set>

#include "graph/primitive.h"
#include "graph/text.h"
#include "plan/plan.h"

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

// What a step has to move: inputs that are not in their places. A slice update whose update is
// needs its base no more, if the base dies.
std::vector<const Node*> moved_by(const Step& step, const Plan& plan, const Tape& tape) {
  const Node& node = *tape.nodes[step.outputs[0]];
  std::vector<const Node*> inputs;
  for (std::size_t i = 0; i < node.inputs.size(); ++i)
    if (i >= step.reads.size() || step.reads[i].is_constant() ||
        !plan.place_of(step.reads[i].index(), tape.flags))
      inputs.push_back(node.inputs[i].node());
  if (tape.kinds[step.outputs[0]] != Kind::slice_update || inputs.size() == 2) return inputs;
  const Slot base = step.reads[0].index();
  const Node& n = *tape.nodes[base];
  const bool dies = std::find(step.last.begin(), step.last.end(), base) != step.last.end() &&
                    !(tape.flags[base] & (Tape::held | Tape::kept)) &&
                    (n.buffer ? n.buffer->refs() == 1 : !is_view(tape.kinds[base]));
  return dies ? std::vector<const Node*>() : inputs;
}

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

std::size_t bytes_of(const Node& n) { return static_cast<std::size_t>(n.size) * size_of(n.dtype); }

}  // namespace

Shape domain_of(const Program& p, Node* const* nodes) {
  Shape domain;
  for (const Program::Axis& a : p.domain) domain.push_back(nodes[a.slot]->shape[a.axis]);
  return domain;
}

std::string to_string(const Plan& plan, const Tape& tape,
                      const std::function<std::string(const Step&)>& listing) {
  Text out;
  std::size_t read = 0, written = 0, number = 0;
  for (const Step& step : plan.steps) {
    const Node& node = *tape.nodes[step.outputs[0]];
    const auto inputs = moved_by(step, plan, tape);
    if (!step.program && inputs.empty() && !node.inputs.empty()) continue;
    out << "step " << number++ << " on " << to_string(step.stream) << ": ";
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
        if (seen.insert(s).second) read += bytes_of(*tape.nodes[s]);
      });
      for (const ProgramOutput& o : step.program->outputs)
        written += bytes_of(*tape.nodes[o.slots[0]]);
      continue;
    }
    out << (step.kind == Step::Kind::view ? "view " : "") << step_of(node);
    for (const Node* in : inputs) out << " " << type_of(*in);
    out << " -> " << type_of(node);
    if (const Place* place = plan.place_of(step.outputs[0], tape.flags))
      out << text_of(*place, tape);
    out << "\n";
    if (step.kind == Step::Kind::view) continue;
    std::size_t moved = 0;
    for (const Node* in : inputs) moved += bytes_of(*in);
    read += moved;
    written += node.primitive->kind() == Kind::concatenate ? moved : bytes_of(node);
  }
  out << number << (number == 1 ? " step" : " steps") << ", reads " << read << " bytes, writes "
      << written << " bytes\n";
  return out.str();
}

}  // namespace cermet
