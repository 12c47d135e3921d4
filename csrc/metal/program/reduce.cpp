// Programs that reduce: a thread, a simdgroup or a threadgroup a row.
#include <algorithm>

#include "metal/program/text.h"

namespace cermet::metal {
namespace {

const char* reduction_name(ReduceOp op) {
  switch (op) {
    case ReduceOp::sum: return "Sum";
    case ReduceOp::prod: return "Prod";
    case ReduceOp::min: return "Min";
    case ReduceOp::max: return "Max";
    case ReduceOp::all: return "All";
    case ReduceOp::any: return "Any";
  }
  return "";
}

}  // namespace

void Writer::reduce() {
  const Coordinates at = begin_rows();
  row_inputs(at);
  for (const ValueId v : kept_)
    line(type_name(p_.values[v].dtype), " ", variable(v), "[", form_.elements, "];");
  for (int phase = 0; phase < p_.phases; ++phase) {
    if (form_.stage == Stage::partial && phase == 1) break;
    row_instructions(phase);
    const Pass& pass = passes_[phase];
    if (form_.stage == Stage::final)
      partial_results(pass);
    else if (!pass.values.empty() || !pass.reductions.empty())
      full_values(pass, at);
    for (const Instruction* r : pass.reductions) finish(*r);
  }
  if (form_.stage != Stage::partial) row_outputs(at);
}

// Which row, or column, this thread works on.
Writer::Coordinates Writer::begin_rows() {
  Coordinates at;
  switch (form_.geometry) {
    case Geometry::solo:
      builtins_ = {"uint position [[thread_position_in_grid]]"};
      line("const ", index_, " row = position;");
      break;
    case Geometry::simd:
      builtins_ = {"uint threadgroup_index [[threadgroup_position_in_grid]]",
                   "uint simdgroup [[simdgroup_index_in_threadgroup]]",
                   "uint lane [[thread_index_in_simdgroup]]"};
      line("const ", index_, " row = threadgroup_index * 8 + simdgroup;");
      line("if (row >= ", number("rows", Source::What::rows), ") return;");
      leader_ = "lane == 0";
      break;
    case Geometry::group:
      builtins_ = {form_.chunked ? "uint2 threadgroup_index [[threadgroup_position_in_grid]]"
                                 : "uint threadgroup_index [[threadgroup_position_in_grid]]",
                   "uint thread_index [[thread_index_in_threadgroup]]",
                   "uint lane [[thread_index_in_simdgroup]]",
                   "uint simdgroup [[simdgroup_index_in_threadgroup]]"};
      if (form_.chunked)
        line("const ", index_, " chunk = threadgroup_index.x, row = threadgroup_index.y;");
      else
        line("const ", index_, " row = threadgroup_index;");
      leader_ = "thread_index == 0";
      break;
    default: {  // columns
      builtins_ = {"uint3 position [[thread_position_in_grid]]",
                   "uint3 thread_index [[thread_position_in_threadgroup]]"};
      const std::string chunks =
          form_.chunked ? number("chunks", Source::What::chunks) : std::string();
      line("const ", index_, " column = position.x, row = position.z", form_.chunked ? " / " : "",
           chunks, ";");
      if (form_.chunked) line("const ", index_, " chunk = position.z % ", chunks, ";");
      line("const uint slice = thread_index.y;");
      line("const bool inside = column < ", number("columns", Source::What::columns), ";");
      leader_ = "inside && slice == 0";
      at = unflatten(AxisGroup::inner, "column");
    }
  }
  if (!axes(AxisGroup::outer).empty())
    for (const Coordinate& c : unflatten(AxisGroup::outer, "row")) at.push_back(c);
  return at;
}

void Writer::row_inputs(const Coordinates& at) {
  for (ValueId v = 0; v < p_.values.size(); ++v) {
    const Value& value = p_.values[v];
    if (value.extent != Extent::row || value.from != Value::From::input || !has_port(v)) continue;
    const std::size_t port = input_port(v);
    const std::string loaded = load(port, place(port, at)), type = type_name(value.dtype);
    if (form_.geometry == Geometry::columns)  // beyond the last column there is nothing to load
      line("const ", type, " ", variable(v), " = inside ? ",
           is_complex(value.dtype) ? load(port, "inside ? " + place(port, at) + " : 0") : loaded,
           " : ", type, "(0);");
    else
      declare(v, loaded);
  }
}

void Writer::row_instructions(int phase) {
  for (const Instruction& ins : p_.instructions)
    if (!ins.is_reduce && ins.phase == phase && p_.values[ins.out].extent == Extent::row &&
        (form_.stage != Stage::partial || readable(ins)))
      declare(ins.out, expression(ins));
}

// In a partial kernel, row inputs that only later instructions need are not bound.
bool Writer::readable(const Instruction& ins) const {
  for (const ValueId v : ins.in)
    if (v != kNoValue && p_.values[v].from == Value::From::input && !has_port(v)) return false;
  return true;
}

std::string Writer::total(const Instruction& ins) const {
  return "total" + std::to_string(p_.values[ins.out].index);
}
std::string Writer::functor(const Instruction& ins) const {
  return std::string(reduction_name(ins.reduce)) + "<" + type_name(accumulator(p_, ins)) + ">";
}
void Writer::declare_totals(const Pass& pass) {
  for (const Instruction* r : pass.reductions)
    line(type_name(accumulator(p_, *r)), " ", total(*r), " = ", functor(*r), "::identity();");
}

void Writer::full_values(const Pass& pass, const Coordinates& kept) {
  declare_totals(pass);
  const std::string step = std::to_string(form_.lanes);
  const std::string lane = form_.geometry == Geometry::columns ? "slice"
                           : form_.geometry == Geometry::group ? "thread_index"
                           : form_.geometry == Geometry::simd  ? "lane"
                                                               : "0";
  const bool columns = form_.geometry == Geometry::columns;
  if (columns) open("if (inside)");
  const auto length = [&] { return number("length", Source::What::length); };
  if (form_.elements) {
    open("for (int k = 0; k < " + std::to_string(form_.elements) + "; ++k)");
    line("const ", index_, " j = ", lane, " + k * ", step, ";");
    line("if (j >= ", length(), ") break;");
  } else if (form_.chunked) {
    const std::string size = number("chunk_length", Source::What::chunk_length);
    line("const ", index_, " last = min((chunk + 1) * ", size, ", ", length(), ");");
    open("for (" + index_ + " j = chunk * " + size + " + " + lane + "; j < last; j += " + step +
         ")");
  } else {
    const std::string advance = form_.lanes == 1 ? "++j" : "j += " + step;
    open("for (" + index_ + " j = " + lane + "; j < " + length() + "; " + advance + ")");
  }
  Coordinates at = kept;
  for (const Coordinate& c : unflatten(AxisGroup::reduced, "j")) at.push_back(c);
  for (const ValueId v : pass.values) compute(v, at);
  for (const Instruction* r : pass.reductions) {
    const std::string type = type_name(accumulator(p_, *r));
    const Value& in = p_.values[r->in[0]];
    const std::string x = operand(r->in[0]);
    line(total(*r), " = ", functor(*r), "::combine(", total(*r), ", ",
         type_name(in.dtype) == type ? x : "cast<" + type + ">(" + x + ")", ");");
  }
  for (const std::size_t i : pass.outputs) write(i, at);
  close();
  if (columns) close();
}

void Writer::partial_results(const Pass& pass) {
  if (pass.reductions.empty()) return;
  declare_totals(pass);
  const std::string length = number("length", Source::What::length);
  open("for (" + index_ + " j = lane; j < " + length + "; j += 32)");
  for (const Instruction* r : pass.reductions)
    line(total(*r), " = ", functor(*r), "::combine(", total(*r), ", ",
         load(port_named(partial_of(*r)), "row * " + length + " + j"), ");");
  close();
}

std::string Writer::partial_of(const Instruction& r) const {
  int k = 0;
  for (const Instruction& ins : p_.instructions) {
    if (&ins == &r) break;
    k += ins.is_reduce;
  }
  return "partial" + std::to_string(k);
}

// Threadgroup memory for a value a simdgroup or thread: two areas a type, used in turns.
std::string Writer::area(const std::string& type) {
  int& used = areas_[type];
  const std::string name = "shared_" + type + (used % 2 ? "_b" : "_a");
  if (used++ < 2)
    line("threadgroup ", type, " ", name, "[",
         form_.geometry == Geometry::columns ? 256 : form_.lanes / 32, "];");
  return name;
}

void Writer::finish(const Instruction& r) {
  const std::string type = type_name(accumulator(p_, r)), sum = total(r);
  std::string value = sum;
  switch (form_.geometry) {
    case Geometry::simd: value = functor(r) + "::simd(" + sum + ")"; break;
    case Geometry::group:
      value = "reduce_threadgroup<" + functor(r) + ">(" + sum + ", " + area(type) +
              ", lane, simdgroup, " + std::to_string(form_.lanes / 32) + ")";
      break;
    case Geometry::columns:
      value = "reduce_slices<" + functor(r) + ">(" + sum + ", " + area(type) +
              ", thread_index.x, slice)";
      break;
    default: break;
  }
  if (form_.stage == Stage::partial) {
    const std::string part = "part" + std::to_string(p_.values[r.out].index);
    line("const ", type, " ", part, " = ", value, ";");
    const std::string row =
        form_.geometry == Geometry::columns
            ? "(row * " + number("columns", Source::What::columns) + " + column)"
            : std::string("row");
    open("if (" + leader_ + ")");
    store(port_named(partial_of(r)),
          row + " * " + number("chunks", Source::What::chunks) + " + chunk", part);
    close();
    return;
  }
  const std::string result = type_name(p_.values[r.out].dtype);
  declare(r.out, result == type ? value : "cast<" + result + ">(" + value + ")");
}

void Writer::row_outputs(const Coordinates& at) {
  bool any = false;
  for (std::size_t i = 0; i < p_.outputs.size(); ++i) {
    if (is_full(p_.outputs[i].value)) continue;
    if (!any && !leader_.empty()) open("if (" + leader_ + ")");
    any = true;
    write(i, at);
  }
  if (any && !leader_.empty()) close();
}

}  // namespace cermet::metal
