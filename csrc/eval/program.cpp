// Row programs and plans as text.
#include "eval/program.h"

#include <algorithm>
#include <sstream>

#include "cermet/eval.h"
#include "eval/batch.h"
#include "graph/primitive.h"
#include "metal/library.h"
#include "metal/program.h"

namespace cermet {

Strides domain_strides(const Program& program, const ProgramInput& input, const Strides& strides) {
  Strides out(program.domain.size());
  const Shape& shape = input.source.shape();
  std::size_t k = 0;
  for (std::size_t d = 0; d < shape.size(); ++d)
    if (shape[d] != 1) out[input.axes[k++]] = strides[d];
  return out;
}

std::int64_t reduction_chunks(std::int64_t outer, std::int64_t length, std::int64_t inner) {
  constexpr std::int64_t kMaxChunks = 256, kColumns = 32;
  constexpr std::int64_t kManyGroups = 256;  // that fill a GPU without chunks
  const std::int64_t groups = outer * (inner == 1 ? 1 : (inner + kColumns - 1) / kColumns);
  const std::int64_t blocks = (length + kReductionBlock - 1) / kReductionBlock;
  if (groups >= kManyGroups || blocks == 1) return 1;
  std::int64_t run = 1;
  while (blocks > run * std::min(kMaxChunks, 4 * kManyGroups / groups)) run *= 2;
  return (blocks + run - 1) / run;
}

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

namespace {

std::string type_of(Dtype dtype, const Shape& shape) {
  return std::string(name_of(dtype)) + to_string(shape);
}

// The fewest digits that read back as the same number.
std::string shortest(double v) {
  for (int digits = 6;; ++digits) {
    std::ostringstream out;
    out.precision(digits);
    out << v;
    if (digits == 17 || std::stod(out.str()) == v || v != v) return out.str();
  }
}

std::string constant_text(std::uint64_t bits, Dtype dtype) {
  const array value(borrow(&bits, sizeof bits, {}), {}, dtype);
  const auto z = value.item<std::complex<float>>();
  std::ostringstream out;
  if (is_complex(dtype))
    out << z.real() << (z.imag() < 0 ? "" : "+") << z.imag() << "j";
  else if (is_inexact(dtype))
    out << shortest(value.item<double>());
  else
    out << value.item<std::int64_t>();
  return out.str();
}

std::string_view name_of(Extent e) {
  return e == Extent::full ? "full" : e == Extent::row ? "row" : "scalar";
}

}  // namespace

std::string to_string(const Program& p) {
  std::ostringstream out;
  const auto name = [&](ValueId v) {
    const Value& x = p.values[v];
    if (x.from == Value::From::constant) return constant_text(p.constants[x.index], x.dtype);
    return (x.from == Value::From::input ? "in" : "v") + std::to_string(x.index);
  };
  out << "domain " << to_string(p.domain);
  if (p.reduced)
    out << ", reduced axes " << p.outer << ".." << p.outer + p.reduced - 1 << ", passes "
        << p.phases;
  out << "\n";
  for (std::size_t i = 0; i < p.inputs.size(); ++i) {
    const ProgramInput& in = p.inputs[i];
    out << "  in" << i << " = load " << type_of(in.source.dtype(), in.source.shape()) << " "
        << name_of(in.extent) << "\n";
  }
  for (std::size_t i = 0; i < p.instructions.size(); ++i) {
    const Instruction& ins = p.instructions[i];
    const Value& v = p.values[ins.out];
    out << "  v" << i << " = " << (ins.is_reduce ? "reduce_" : "")
        << (ins.is_reduce ? cermet::name_of(ins.reduce) : info(ins.op).name);
    for (int k = 0; k < 3 && ins.in[k] != kNoValue; ++k) out << (k ? ", " : " ") << name(ins.in[k]);
    out << " : " << cermet::name_of(v.dtype) << " " << name_of(v.extent) << "\n";
  }
  for (const ProgramOutput& o : p.outputs)
    out << "  store " << name(o.value) << " -> " << type_of(o.nodes[0]->dtype, o.nodes[0]->shape)
        << "\n";
  return out.str();
}

std::string explain(const Arrays& arrays) {
  std::scoped_lock lock(graph_mutex());
  const Schedule plan = schedule(arrays);
  std::ostringstream out;
  std::size_t read = 0, written = 0, number = 0;
  for (const Step& step : plan.steps) {
    const Node& first = *step.outputs[0];
    out << "step " << number++ << " on " << to_string(step.stream) << ": ";
    if (step.program) {
      out << "row program, " << to_string(*step.program);
      for (const ProgramInput& in : step.program->inputs) read += in.source.nbytes();
      for (const ProgramOutput& o : step.program->outputs)
        written += static_cast<std::size_t>(o.nodes[0]->size) * size_of(o.nodes[0]->dtype);
      continue;
    }
    const Primitive& p = *first.primitive;
    out << (step.kind == Step::Kind::view ? "view " : "") << p.name();
    if (const std::string params = p.parameters(); !params.empty()) out << " " << params;
    for (const array& in : first.inputs) out << " " << type_of(in.dtype(), in.shape());
    out << " -> " << type_of(first.dtype, first.shape) << "\n";
    if (step.kind == Step::Kind::view) continue;
    for (const array& in : first.inputs) read += in.nbytes();
    written += static_cast<std::size_t>(first.size) * size_of(first.dtype);
  }
  out << number << (number == 1 ? " step" : " steps") << ", reads " << read << " bytes, writes "
      << written << " bytes\n";
  return out.str();
}

std::string metal_source(const Arrays& arrays, bool complete) {
  std::scoped_lock lock(graph_mutex());
  const Schedule plan = schedule(arrays);
  std::ostringstream out;
  std::vector<std::string> included;
  if (complete) {
    out << "#include <metal_stdlib>\nusing namespace metal;\n";
    for (const char* file : {"types.h", "ops.h", "reduce.h"}) out << metal::flatten(file, included);
    out << "#line 1 \"program.metal\"\n";
  }
  for (const Step& step : plan.steps) {
    const Node& first = *step.outputs[0];
    if (step.program && !metal::supports(*step.program))
      out << "// On the CPU: a row program of float64 or of very many arrays.\n\n";
    else if (step.program)
      for (const metal::ProgramKernel& kernel : metal::generate(*step.program))
        out << kernel.text << "\n";
    else if (step.kind == Step::Kind::primitive)
      out << "// " << first.primitive->name() << ": "
          << (metal::supports(first) ? "a kernel of metal/." : "on the CPU.") << "\n\n";
  }
  return out.str();
}

}  // namespace cermet
