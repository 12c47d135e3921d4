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

// The lanes of a block that a thread has: the first, how many, and how far apart.
struct Lanes {
  const char* first;
  int count, step;
};
Lanes lanes_of(Geometry geometry) {
  switch (geometry) {
    case Geometry::solo: return {"0", 16, 1};
    case Geometry::columns: return {"slice", 8, 8};
    default: return {"lane", 2, 32};
  }
}

std::string text(std::int64_t n) { return std::to_string(n); }

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
    if (!pass.reductions.empty())
      reduce_values(pass, at);
    else if (!pass.values.empty() && form_.stage != Stage::final)
      full_values(pass, at);
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
      line("if (row >= ", number("rows", &Numbers::rows), ") return;");
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
      const std::string chunks = form_.chunked ? number("chunks", &Numbers::chunks) : std::string();
      line("const ", index_, " column = position.x, row = position.z", form_.chunked ? " / " : "",
           chunks, ";");
      if (form_.chunked) line("const ", index_, " chunk = position.z % ", chunks, ";");
      line("const uint slice = thread_index.y;");
      line("const bool inside = column < ", number("columns", &Numbers::columns), ";");
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

std::string Writer::functor(const Instruction& ins) const {
  return std::string(reduction_name(ins.reduce)) + "<" + type_name(accumulator(p_, ins)) + ">";
}

void Writer::values_and_outputs(const Pass& pass, Coordinates at) {
  for (const Coordinate& c : unflatten(AxisGroup::reduced, "j")) at.push_back(c);
  for (const ValueId v : pass.values) compute(v, at);
  for (const std::size_t i : pass.outputs) write(i, at);
}

// A pass without reductions: its elements in any order.
void Writer::full_values(const Pass& pass, const Coordinates& kept) {
  const std::string length = number("length", &Numbers::length);
  const std::string lane =
      form_.geometry == Geometry::group ? "thread_index" : lanes_of(form_.geometry).first;
  const bool columns = form_.geometry == Geometry::columns;
  if (columns) open("if (inside)");
  if (form_.elements) {
    open("for (int k = 0; k < " + text(form_.elements) + "; ++k)");
    line("const ", index_, " j = ", lane, " + k * ", form_.lanes, ";");
    line("if (j >= ", length, ") break;");
  } else {
    open("for (" + index_ + " j = " + lane + "; j < " + length + "; j += " + text(form_.lanes) +
         ")");
  }
  values_and_outputs(pass, kept);
  close();
  if (columns) close();
}

// Threadgroup memory, one area a type.
void Writer::areas(const Pass& pass) {
  const int size = form_.geometry == Geometry::columns ? 256
                   : form_.elements                    ? 1024
                                                       : form_.lanes / 32;
  if (form_.geometry != Geometry::columns && form_.geometry != Geometry::group) return;
  for (const Instruction* r : pass.reductions)
    if (const std::string type = type_name(accumulator(p_, *r)); areas_.insert(type).second)
      line("threadgroup ", type, " shared_", type, "[", size, "];");
}

// A pass with reductions: block by block.
void Writer::reduce_values(const Pass& pass, const Coordinates& kept) {
  const std::string length = number("length", &Numbers::length);
  if (form_.stage == Stage::final) {
    for (const Instruction* r : pass.reductions)
      finish(*r, "combine_chunks<" + functor(*r) + ">(" + ports_[partial_of(*r)].name + ", row * " +
                     length + ", lane, uint(" + length + "))");
    return;
  }
  areas(pass);
  if (!form_.blocks) {
    reduce_block(pass, kept, "0", length);
    for (const Instruction* r : pass.reductions)
      finish(*r, folded(*r, "min(uint(" + length + "), 64u)"));
    return;
  }
  const auto blocks_of = [&](const Instruction& r) {
    return "blocks" + std::to_string(p_.values[r.out].index);
  };
  for (const Instruction* r : pass.reductions)
    line("Blocks<", functor(*r), ", ", type_name(accumulator(p_, *r)), "> ", blocks_of(*r), ";");
  const bool group = form_.geometry == Geometry::group;
  const int step = group ? form_.lanes / 32 : 1;  // a simdgroup has a block of its own
  const std::string type = index_, size = type + "(4096)";
  std::string first = "0", last = "(" + length + " + 4095) / 4096";
  if (form_.chunked) {
    const std::string run = number("chunk_blocks", &Numbers::chunk_blocks);
    first = "chunk * " + run;
    last = "min(" + first + " + " + run + ", " + last + ")";
  }
  open("for (" + type + " first = " + first + ", last = " + last +
       "; first < last; first += " + text(step) + ")");
  line("const ", type, " begin = ", group ? "(first + simdgroup)" : "first", " * 4096;");
  line("const ", type, " end = min(begin + ", size, ", ", length, ");");
  line("const uint count = uint(max(min(end - begin, ", type, "(64)), ", type, "(0)));");
  reduce_block(pass, kept, "begin", "end");
  for (const Instruction* r : pass.reductions) {
    std::string value = folded(*r, "count");
    if (group)
      value = "combine_simdgroups<" + functor(*r) + ">(" + value + ", shared_" +
              type_name(accumulator(p_, *r)) + ", lane, simdgroup, uint(min(last - first, " + type +
              "(" + text(step) + "))))";
    line(blocks_of(*r), ".push(", value, ");");
  }
  close();
  for (const Instruction* r : pass.reductions) finish(*r, blocks_of(*r) + ".total()");
}

// The values of one block, each combined with its lane.
void Writer::reduce_block(const Pass& pass, const Coordinates& kept, const std::string& begin,
                          const std::string& end) {
  const bool shares = form_.geometry == Geometry::group && !form_.blocks;
  const Lanes lanes =
      shares ? Lanes{"thread_index", form_.elements, 256} : lanes_of(form_.geometry);
  for (const Instruction* r : pass.reductions) {
    const std::string type = type_name(accumulator(p_, *r));
    const std::string total = "total" + std::to_string(p_.values[r->out].index);
    line(type, " ", total, "[", lanes.count, "];");
    if (!shares)
      line("for (int q = 0; q < ", lanes.count, "; ++q) ", total, "[q] = ", type, "(0);");
  }
  const bool columns = form_.geometry == Geometry::columns;
  if (columns) open("if (inside)");
  std::string lane, first;
  if (form_.elements) {
    open("for (int k = 0; k < " + text(form_.elements) + "; ++k)");
    line("const ", index_, " j = ", lanes.first, " + k * ", lanes.step, ";");
    lane = shares ? "k" : "k % " + text(lanes.count);
    first = "k < " + text(lanes.count);
  } else {
    if (form_.geometry != Geometry::solo)
      open("for (" + index_ + " base = " + begin + "; base < " + end + "; base += 64)");
    open("for (int q = 0; q < " + text(lanes.count) + "; ++q)");
    line("const ", index_, " j = ", form_.geometry == Geometry::solo ? "" : "base + ", lanes.first,
         " + q * ", lanes.step, ";");
    lane = "q";
    first = "base == " + begin;
  }
  line("if (j >= ", end, ") break;");
  values_and_outputs(pass, kept);
  for (const Instruction* r : pass.reductions) {
    const std::string type = type_name(accumulator(p_, *r)), name = operand(r->in[0]);
    const std::string x =
        type_name(p_.values[r->in[0]].dtype) == type ? name : "cast<" + type + ">(" + name + ")";
    const std::string total = "total" + std::to_string(p_.values[r->out].index) + "[" + lane + "]";
    if (form_.geometry == Geometry::solo || shares) {
      line(total, " = ", x, ";");
    } else {
      line("if (", first, ") ", total, " = ", x, ";");
      line("else ", total, " = ", functor(*r), "::combine(", total, ", ", x, ");");
    }
  }
  close();
  if (!form_.elements && form_.geometry != Geometry::solo) close();
  if (columns) close();
}

// A block's lanes, `count` of which have a value.
std::string Writer::folded(const Instruction& r, const std::string& count) {
  const std::string total = "total" + std::to_string(p_.values[r.out].index);
  switch (form_.geometry) {
    case Geometry::solo: return "fold_thread<" + functor(r) + ">(" + total + ", " + count + ")";
    case Geometry::columns:
      return "fold_slices<" + functor(r) + ">(" + total + ", shared_" +
             type_name(accumulator(p_, r)) + ", thread_index.x, slice, " + count + ")";
    case Geometry::group:
      if (!form_.blocks)
        return "fold_threadgroup<" + functor(r) + ">(" + total + ", " + text(form_.elements) +
               ", shared_" + type_name(accumulator(p_, r)) + ", thread_index, uint(" +
               number("length", &Numbers::length) + "))";
      [[fallthrough]];
    default: return "fold_simdgroup<" + functor(r) + ">(" + total + ", lane, " + count + ")";
  }
}

std::size_t Writer::partial_of(const Instruction& r) const {
  int k = 0;
  for (const Instruction& ins : p_.instructions) {
    if (&ins == &r) break;
    k += ins.is_reduce;
  }
  return port_named("partial" + std::to_string(k));
}

void Writer::finish(const Instruction& r, const std::string& value) {
  const std::string type = type_name(accumulator(p_, r));
  if (form_.stage == Stage::partial) {
    const std::string part = "part" + std::to_string(p_.values[r.out].index);
    line("const ", type, " ", part, " = ", value, ";");
    const std::string row = form_.geometry == Geometry::columns
                                ? "(row * " + number("columns", &Numbers::columns) + " + column)"
                                : std::string("row");
    open("if (" + leader_ + ")");
    store(partial_of(r), row + " * " + number("chunks", &Numbers::chunks) + " + chunk", part);
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
