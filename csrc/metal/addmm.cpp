// A matrix product that is scaled and added to, in one kernel.
#include "eval/outputs.h"
#include "metal/program.h"

namespace cermet::metal {
namespace {

// `bits` must outlive it.
array array_of(Dtype dtype, const std::uint64_t& bits) {
  return array(borrow(&bits, sizeof bits, {}), {}, dtype);
}

}  // namespace

std::optional<Addmm> as_addmm(const Program& p, const Node& product) {
  if (p.reduced || p.inputs.size() != 2 || p.outputs.size() != 1 || !is_floating(product.dtype))
    return std::nullopt;
  // What an operand of the addition is: an input, perhaps times a constant.
  struct Term {
    std::uint32_t input;
    float scale;
  };
  std::size_t used = 1;
  const auto term = [&](ValueId v) -> std::optional<Term> {
    const Value& value = p.values[v];
    if (value.dtype != product.dtype) return std::nullopt;
    if (value.from == Value::From::input) return Term{value.index, 1};
    if (value.from != Value::From::instruction) return std::nullopt;
    const Instruction& ins = p.instructions[value.index];
    if (ins.is_reduce || ins.op != Op::multiply) return std::nullopt;
    const Value &x = p.values[ins.in[0]], &factor = p.values[ins.in[1]];
    if (x.from != Value::From::input || factor.from != Value::From::constant) return std::nullopt;
    ++used;
    return Term{x.index, array_of(factor.dtype, p.constants[factor.index]).item<float>()};
  };
  const Value& out = p.values[p.outputs[0].value];
  const Instruction& last = p.instructions[out.index];
  if (last.is_reduce || last.op != Op::add || out.extent != Extent::full) return std::nullopt;
  const std::optional<Term> x = term(last.in[0]), y = term(last.in[1]);
  if (!x || !y || used != p.instructions.size() || x->input == y->input) return std::nullopt;
  const bool first = p.inputs[x->input].source.node() == &product;
  const Term &of_product = first ? *x : *y, &addend = first ? *y : *x;
  const ProgramInput& in = p.inputs[of_product.input];
  if (in.source.node() != &product || in.axes.size() != p.domain.size()) return std::nullopt;
  for (std::size_t k = 0; k < in.axes.size(); ++k)
    if (in.axes[k] != static_cast<int>(k)) return std::nullopt;
  return Addmm{addend.input, of_product.scale, addend.scale, in.references};
}

void addmm(Commands& commands, const Program& p, const Addmm& form, const Node& product) {
  place_outputs(p, std::vector<bool>(p.inputs.size()), may_overwrite,
                [&](std::size_t bytes) { return commands.allocate(bytes); });
  // The addend over the product's axes.
  const ProgramInput& in = p.inputs[form.addend];
  const Node& c = *in.source.node();
  const Strides strides = domain_strides(p, in, c.strides);
  Tensor addend = tensor(c);
  addend.shape = product.shape;
  addend.strides = Strides(product.shape.size());
  int k = 0;
  for (std::size_t d = 0; d < product.shape.size(); ++d)
    if (product.shape[d] != 1) addend.strides[d] = strides[k++];
  Tensor out = tensor(*p.outputs[0].nodes[0]);
  out.shape = product.shape;
  out.strides = row_major(product.shape);
  addmm(commands, addend, tensor(*product.inputs[0].node()), tensor(*product.inputs[1].node()),
        form.alpha, form.beta, out);
}

}  // namespace cermet::metal
