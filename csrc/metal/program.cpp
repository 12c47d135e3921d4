// From a row program to Metal source.
//
// The kernel has the program's instructions in its body, one line each; what differs from launch to
// launch (extents, strides other than 0 and 1, constants) is an argument, so one source serves many
// launches. Which thread computes what follows from the domain's shape alone:
//   flat     nothing is reduced: one thread an element.
//   solo     up to 16 elements are reduced: one thread a row.
//   simd     rows of up to 256 adjacent in their last axis: one simdgroup a row.
//   group    longer rows: one threadgroup a row. Values that several passes need stay in registers.
//   columns  an axis before the last is reduced: 8 slices of 32 columns a threadgroup.
// Few long rows are reduced in chunks to partial results, which a second kernel reduces.
#include "metal/program.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <set>
#include <sstream>

#include "graph/primitive.h"

namespace cermet::metal {
namespace {

constexpr std::int64_t kSoloLength = 16, kSimdLength = 256, kGroupLength = 4096;
constexpr std::int64_t kRegisterElements = 16;  // of a row, a thread
constexpr std::int64_t kRegisters = 64;         // for values kept between passes, a thread
constexpr std::int64_t kMaxIndex = 0x7fffffff;
constexpr std::uint32_t kGridWidth = 1u << 30;  // of a grid too large for one axis

struct Port {
  std::string name;
  Dtype dtype;
  Extent extent;
  Strides strides;  // over the domain's axes
  bool output = false;
  ProgramKernel::From from = ProgramKernel::From::input;
  std::size_t index = 0;  // of the program's input, output or reduction
};

// An axis of the domain, or several merged, with each port's stride.
struct Axis {
  std::int64_t extent;
  std::vector<std::int64_t> strides;
};
using AxisList = std::vector<Axis>;

enum class Geometry : std::uint8_t { flat, solo, simd, group, columns };
// Chunks are reduced to partial results, and these to the rows' values.
enum class Stage : std::uint8_t { whole, partial, final };

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

// Sums of 16-bit numbers are accumulated in float32.
Dtype accumulator(const Program& p, const Instruction& ins) {
  const Dtype t = p.values[ins.out].dtype;
  return is_half(t) ? float32 : t;
}

template <std::integral T>
std::string number(T v) {
  return std::to_string(v);
}

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

class Generator {
 public:
  Generator(const Program& program, Stage stage) : p_(program), stage_(stage) {
    const int axes = static_cast<int>(p_.domain.size());
    rows_ = p_.outer_size();
    columns_ = p_.inner_size();
    length_ = p_.reduced_size();
    make_ports();
    if (stage == Stage::final) {
      outer_ = merge(0, axes, /*skip_reduced=*/true);
      chunks_ = chunks(p_);
      rows_ *= columns_;
      columns_ = 1;
      length_ = chunks_;
      geometry_ = Geometry::simd;
    } else {
      geometry_ = choose();
      if (geometry_ == Geometry::solo) {
        outer_ = merge(0, axes, true);
      } else {
        outer_ = merge(0, p_.outer, false);
        inner_ = merge(p_.outer + p_.reduced, p_.inner(), false);
      }
      reduced_ = merge(p_.outer, p_.reduced, false);
      if (stage == Stage::partial) chunks_ = chunks(p_);
    }
    index_ = needs_long() ? "long" : "int";
    plan_registers();
  }

  // In how many chunks each row is reduced; 1: whole. The planner sees to it that nothing after the
  // reductions is full where there are chunks.
  static std::int64_t chunks(const Program& p) {
    const bool reduces = std::any_of(p.instructions.begin(), p.instructions.end(),
                                     [](const Instruction& ins) { return ins.is_reduce; });
    return reduces && p.phases == 2
               ? reduction_chunks(p.outer_size(), p.reduced_size(), p.inner_size())
               : 1;
  }

  ProgramKernel kernel() {
    ProgramKernel out;
    const std::string body = this->body();
    std::ostringstream text;
    if (!members_.empty()) {
      text << "struct NAME_arguments {\n";
      for (const Member& m : members_) text << "  " << m.type << " " << m.name << ";\n";
      text << "};\n\n";
    }
    // The compiler is to spare registers for large threadgroups.
    const std::uint64_t threads = group_.product();
    text << "[[kernel"
         << (threads > 256 ? ", max_total_threads_per_threadgroup(" + number(threads) + ")" : "")
         << "]] void NAME(\n";
    int slot = 0;
    for (const Port& port : ports_)
      text << "    device " << (port.output ? "" : "const ") << type_name(port.dtype) << "* "
           << port.name << " [[buffer(" << slot++ << ")]],\n";
    if (!members_.empty())
      text << "    constant NAME_arguments& arguments [[buffer(" << slot << ")]],\n";
    for (std::size_t i = 0; i < builtins_.size(); ++i)
      text << "    " << builtins_[i] << (i + 1 < builtins_.size() ? ",\n" : ") {\n");
    text << body << "}\n";
    out.text = text.str();
    out.name = name_of_text(out.text);
    for (std::size_t at; (at = out.text.find("NAME")) != std::string::npos;)
      out.text.replace(at, 4, out.name);
    for (const Port& port : ports_) out.buffers.emplace_back(port.from, port.index);
    out.arguments = std::move(packed_);
    if (!out.arguments.empty())
      out.arguments.resize((out.arguments.size() + alignment_ - 1) / alignment_ * alignment_);
    out.groups = geometry_ != Geometry::flat && geometry_ != Geometry::solo;
    out.grid = grid_;
    out.group = group_;
    return out;
  }

 private:
  // ---- What the ports look like ----

  void make_ports() {
    for (std::size_t i = 0; i < p_.inputs.size(); ++i) {
      const ProgramInput& in = p_.inputs[i];
      if (stage_ == Stage::final && in.extent == Extent::full) continue;
      if (stage_ == Stage::partial && in.extent == Extent::row && !row_input_is_read(i)) continue;
      const Node& n = *in.source.node();
      const Status status = n.status.load(std::memory_order_acquire);
      const bool known = status == Status::available || status == Status::encoded;
      const Strides lies = known ? n.strides : row_major(n.shape);
      Port port{"in" + number(i),           n.dtype, in.extent, Strides(p_.domain.size()), false,
                ProgramKernel::From::input, i};
      int k = 0;
      if (in.extent != Extent::scalar)
        for (std::size_t d = 0; d < n.shape.size(); ++d)
          if (n.shape[d] != 1) port.strides[in.axes[k++]] = lies[d];
      ports_.push_back(std::move(port));
    }
    std::size_t r = 0;
    for (const Instruction& ins : p_.instructions)
      if (ins.is_reduce && stage_ != Stage::whole) {
        ports_.push_back({"partial" + number(r), accumulator(p_, ins), Extent::row,
                          Strides(p_.domain.size()), stage_ == Stage::partial,
                          ProgramKernel::From::partial, r});
        ++r;
      }
    for (std::size_t i = 0; i < p_.outputs.size(); ++i) {
      const ProgramOutput& o = p_.outputs[i];
      if (stage_ != Stage::whole && is_full(o.value) != (stage_ == Stage::partial)) continue;
      ports_.push_back({"out" + number(i), o.nodes[0]->dtype, p_.values[o.value].extent, o.strides,
                        true, ProgramKernel::From::output, i});
    }
  }

  // Whether an instruction on full values reads a row's input.
  bool row_input_is_read(std::size_t index) const {
    for (const Instruction& ins : p_.instructions)
      for (ValueId v : ins.in)
        if (v != kNoValue && p_.values[v].from == Value::From::input &&
            p_.values[v].index == index &&
            (ins.is_reduce || p_.values[ins.out].extent == Extent::full || ins.phase == 0))
          return true;
    return false;
  }

  AxisList merge(int first, int count, bool skip_reduced) const {
    AxisList out;
    for (int a = first; a < first + count; ++a) {
      if (skip_reduced && a >= p_.outer && a < p_.outer + p_.reduced) continue;
      Axis axis{p_.domain[a], {}};
      for (const Port& port : ports_) axis.strides.push_back(port.strides[a]);
      if (!out.empty()) {
        Axis& last = out.back();
        bool fits = true;
        for (std::size_t k = 0; k < ports_.size(); ++k)
          fits &= last.strides[k] == axis.strides[k] * axis.extent;
        if (fits) {
          last.extent *= axis.extent;
          last.strides = axis.strides;
          continue;
        }
      }
      out.push_back(std::move(axis));
    }
    return out;
  }

  Geometry choose() const {
    if (!p_.reduced) return Geometry::flat;
    if (length_ <= kSoloLength) return Geometry::solo;
    if (columns_ > 1) return Geometry::columns;
    return length_ <= kSimdLength ? Geometry::simd : Geometry::group;
  }

  bool needs_long() const {
    if (p_.size() > kMaxIndex || rows_ * chunks_ > kMaxIndex) return true;
    for (std::size_t k = 0; k < ports_.size(); ++k) {
      std::int64_t last = 0;
      for (const AxisList* list : {&outer_, &reduced_, &inner_})
        for (const Axis& a : *list) last += std::abs(a.strides[k]) * (a.extent - 1);
      if (last > kMaxIndex) return true;
    }
    return false;
  }

  // Threads along the reduced axes.
  std::int64_t lanes() const {
    switch (geometry_) {
      case Geometry::simd: return 32;
      case Geometry::group: return length_ <= kGroupLength || stage_ == Stage::partial ? 256 : 1024;
      case Geometry::columns: return 8;
      default: return 1;
    }
  }

  bool is_full(ValueId v) const { return p_.values[v].extent == Extent::full; }
  const Instruction* instruction(ValueId v) const {
    const Value& value = p_.values[v];
    return value.from == Value::From::instruction ? &p_.instructions[value.index] : nullptr;
  }

  // ---- What each pass computes ----

  // The full values of a pass, in order: what its reductions and outputs need. With registers, what
  // an earlier pass computed is there.
  struct Pass {
    std::vector<ValueId> values;
    std::vector<const Instruction*> reductions;
    std::vector<std::size_t> outputs;
  };

  std::vector<Pass> plan(bool registers, std::set<ValueId>* kept) const {
    std::vector<Pass> passes(p_.phases);
    std::set<ValueId> done;
    for (int phase = 0; phase < p_.phases; ++phase) {
      Pass& pass = passes[phase];
      std::vector<ValueId> todo;
      for (const Instruction& ins : p_.instructions)
        if (ins.is_reduce && ins.phase == phase + 1) {
          pass.reductions.push_back(&ins);
          todo.push_back(ins.in[0]);
        }
      for (std::size_t i = 0; i < p_.outputs.size(); ++i) {
        const ValueId v = p_.outputs[i].value;
        if (!is_full(v) || phase_of(v) != phase) continue;
        pass.outputs.push_back(i);
        todo.push_back(v);
      }
      std::set<ValueId> needed;
      while (!todo.empty()) {
        const ValueId v = todo.back();
        todo.pop_back();
        if (!is_full(v) || needed.contains(v)) continue;
        if (registers && done.contains(v)) {
          kept->insert(v);
          continue;
        }
        needed.insert(v);
        if (const Instruction* ins = instruction(v))
          for (ValueId in : ins->in)
            if (in != kNoValue) todo.push_back(in);
      }
      pass.values.assign(needed.begin(), needed.end());  // an operand's number is lower
      std::stable_sort(pass.values.begin(), pass.values.end(),
                       [&](ValueId a, ValueId b) { return order_of(a) < order_of(b); });
      done.insert(needed.begin(), needed.end());
    }
    return passes;
  }
  int phase_of(ValueId v) const {
    const Instruction* ins = instruction(v);
    return ins ? ins->phase : 0;
  }
  std::int64_t order_of(ValueId v) const {
    const Value& value = p_.values[v];
    return value.from == Value::From::instruction ? std::int64_t{value.index} : -1;
  }

  void plan_registers() {
    if (geometry_ == Geometry::group || geometry_ == Geometry::simd ||
        geometry_ == Geometry::columns) {
      std::set<ValueId> kept;
      std::vector<Pass> passes = plan(true, &kept);
      std::int64_t elements = 1;
      while (elements * lanes() < length_) elements *= 2;
      if (!kept.empty() && elements <= kRegisterElements &&
          elements * static_cast<std::int64_t>(kept.size()) <= kRegisters) {
        passes_ = std::move(passes);
        kept_ = std::move(kept);
        elements_ = elements;
        return;
      }
    }
    passes_ = plan(false, nullptr);
  }

  // ---- Arguments ----

  struct Member {
    std::string type, name;
  };

  template <class T>
  std::string argument(const std::string& type, const std::string& name, T value) {
    for (const Member& m : members_)
      if (m.name == name) return "arguments." + name;
    members_.push_back({type, name});
    const std::size_t at = (packed_.size() + sizeof value - 1) / sizeof value * sizeof value;
    packed_.resize(at + sizeof value);
    std::memcpy(packed_.data() + at, &value, sizeof value);
    alignment_ = std::max(alignment_, sizeof value);
    return "arguments." + name;
  }
  std::string extent(const std::string& name, std::int64_t value) {
    return index_ == "int" ? argument(index_, name, static_cast<std::int32_t>(value))
                           : argument(index_, name, value);
  }

  std::string constant(ValueId v) {
    const Value& value = p_.values[v];
    const std::uint64_t bits = p_.constants[value.index];
    const std::string name = "c" + number(value.index), type = type_name(value.dtype);
    if (is_complex(value.dtype))
      return "complex64(" + argument("float", name + "_re", static_cast<std::uint32_t>(bits)) +
             ", " + argument("float", name + "_im", static_cast<std::uint32_t>(bits >> 32)) + ")";
    switch (size_of(value.dtype)) {
      case 1: return argument(type, name, static_cast<std::uint8_t>(bits));
      case 2: return argument(type, name, static_cast<std::uint16_t>(bits));
      case 4: return argument(type, name, static_cast<std::uint32_t>(bits));
      default: return argument(type, name, bits);
    }
  }

  // ---- Places ----

  // A coordinate along an axis: the variable, and a port's stride.
  struct Coordinate {
    std::string name;
    const Axis* axis;
  };

  // Declares the coordinates of `axes` from one flat variable.
  std::vector<Coordinate> unflatten(const AxisList& axes, const std::string& flat) {
    std::vector<Coordinate> out;
    if (axes.size() == 1) return {{flat, &axes[0]}};
    std::string rest = flat;
    for (std::size_t a = axes.size(); a-- > 0;) {
      const std::string name = flat + number(a);
      if (a == 0) {
        line("const ", index_, " ", name, " = ", rest, ";");
      } else {
        const std::string size = extent(name + "_extent", axes[a].extent);
        line("const ", index_, " ", name, " = ", rest, " % ", size, ";");
        const std::string left = flat + "_over_" + number(a);
        if (a > 1) {
          line("const ", index_, " ", left, " = ", rest, " / ", size, ";");
          rest = left;
        } else {
          rest = rest + " / " + size;
        }
      }
      out.push_back({name, &axes[a]});
    }
    return out;
  }

  std::string place(std::size_t port, const std::vector<Coordinate>& coordinates) {
    std::string out;
    for (const Coordinate& c : coordinates) {
      const std::int64_t stride = c.axis->strides[port];
      if (stride == 0) continue;
      if (!out.empty()) out += " + ";
      out += c.name;
      if (stride == 1) continue;
      out += " * ";
      if (p_.reduced && stride == length_ && stage_ != Stage::final)
        out += extent("length", length_);
      else
        out += extent(ports_[port].name + "_" + c.name, stride);
    }
    return out.empty() ? "0" : out;
  }

  std::string load(std::size_t port, const std::string& at) const {
    const Port& p = ports_[port];
    return is_complex(p.dtype) ? "load(" + p.name + ", " + at + ")" : p.name + "[" + at + "]";
  }
  void store(std::size_t port, const std::string& at, const std::string& value) {
    const Port& p = ports_[port];
    if (is_complex(p.dtype))
      line("store(", p.name, ", ", at, ", ", value, ");");
    else
      line(p.name, "[", at, "] = ", value, ";");
  }
  std::size_t port_named(const std::string& name) const {
    for (std::size_t i = 0; i < ports_.size(); ++i)
      if (ports_[i].name == name) return i;
    throw std::logic_error("metal: a program has no buffer " + name);
  }
  std::size_t input_port(ValueId v) const { return port_named("in" + number(p_.values[v].index)); }

  // ---- The body ----

  template <class... Parts>
  void line(const Parts&... parts) {
    body_ << std::string(2 * depth_, ' ');
    (body_ << ... << parts);
    body_ << "\n";
  }
  void open(const std::string& head) {
    line(head, " {");
    ++depth_;
  }
  void close() {
    --depth_;
    line("}");
  }

  std::string variable(ValueId v) const {
    const Value& value = p_.values[v];
    return (value.from == Value::From::input ? "x" : "v") + number(value.index);
  }
  // A value as an operand; inside the loop over a row a kept one is an element of its array.
  std::string operand(ValueId v) {
    if (p_.values[v].from == Value::From::constant) return constant(v);
    return variable(v) + (kept_.contains(v) ? "[k]" : "");
  }

  // A call of the operation's function in ops/. Real functions are of float: 16-bit operands are
  // widened, and such a result is rounded once.
  std::string expression(const Instruction& ins) {
    const Dtype to = p_.values[ins.out].dtype;
    const std::string type = type_name(to);
    if (ins.op == Op::cast) {
      const std::string value = operand(ins.in[0]);
      return p_.values[ins.in[0]].dtype == to ? value : "cast<" + type + ">(" + value + ")";
    }
    std::string operands;
    for (const ValueId v : ins.in) {
      if (v == kNoValue) continue;
      operands += operands.empty() ? "" : ", ";
      operands += is_half(p_.values[v].dtype) ? "float(" + operand(v) + ")" : operand(v);
    }
    const std::string value = "ops::" + std::string(info(ins.op).name) + "(" + operands + ")";
    return is_half(to) ? "cast<" + type + ">(" + value + ")" : value;
  }

  void declare(ValueId v, const std::string& value) {
    const std::string type = type_name(p_.values[v].dtype);
    if (kept_.contains(v))
      line(variable(v), "[k] = ", value, ";");
    else
      line("const ", type, " ", variable(v), " = ", value, ";");
  }

  void compute(ValueId v, const std::vector<Coordinate>& coordinates) {
    if (const Instruction* ins = instruction(v)) {
      declare(v, expression(*ins));
    } else if (p_.values[v].from == Value::From::input) {
      const std::size_t port = input_port(v);
      declare(v, load(port, place(port, coordinates)));
    }
  }

  std::string body() {
    body_ = {};
    depth_ = 1;
    scalars();
    switch (geometry_) {
      case Geometry::flat: flat(); break;
      default: reduce();
    }
    return body_.str();
  }

  bool has_port(ValueId v) const {
    const std::string name = "in" + number(p_.values[v].index);
    return std::any_of(ports_.begin(), ports_.end(), [&](const Port& p) { return p.name == name; });
  }

  // Values of no axis at all: every thread has them.
  void scalars() {
    for (std::size_t v = 0; v < p_.values.size(); ++v) {
      const Value& value = p_.values[v];
      if (value.extent == Extent::scalar && value.from == Value::From::input)
        compute(static_cast<ValueId>(v), {});
    }
    for (const Instruction& ins : p_.instructions)
      if (p_.values[ins.out].extent == Extent::scalar) compute(ins.out, {});
  }

  void flat() {
    std::vector<Coordinate> at;
    const AxisList& axes = inner_;
    const std::int64_t n = p_.size();
    if (axes.size() <= 1 && index_ == "int") {
      bool adjacent = true;
      for (std::size_t k = 0; k < ports_.size(); ++k)
        adjacent &= axes.empty() || axes[0].strides[k] == 0 || axes[0].strides[k] == 1;
      if (adjacent) {
        builtins_ = {"uint i [[thread_position_in_grid]]"};
      } else {
        builtins_ = {"uint position [[thread_position_in_grid]]"};
        line("const int i = position;");
      }
      if (!axes.empty()) at = {{"i", &axes[0]}};
      grid_ = {static_cast<std::uint32_t>(n)};
      group_ = {static_cast<std::uint32_t>(std::min<std::int64_t>(n, 256))};
    } else if (axes.size() <= 1) {
      builtins_ = {"uint2 position [[thread_position_in_grid]]"};
      line("const long i = long(position.y) * ", number(kGridWidth), " + position.x;");
      line("if (i >= ", extent("size", n), ") return;");
      at = {{"i", &axes[0]}};
      grid_ = {static_cast<std::uint32_t>(std::min<std::int64_t>(n, kGridWidth)),
               static_cast<std::uint32_t>(ceil_div(n, kGridWidth))};
      group_ = {256};
    } else {
      grid(axes, at);
    }
    for (ValueId v : passes_[0].values) compute(v, at);
    for (std::size_t i : passes_[0].outputs) write(i, at);
  }

  // A grid of up to three axes; what is left of the domain's are parts of the third.
  void grid(const AxisList& axes, std::vector<Coordinate>& at) {
    const std::size_t n = axes.size();
    const Axis &x = axes[n - 1], &y = axes[n - 2];
    grid_ = {static_cast<std::uint32_t>(x.extent), static_cast<std::uint32_t>(y.extent)};
    builtins_ = {std::string(n == 2 ? "uint2" : "uint3") + " position [[thread_position_in_grid]]"};
    line("const ", index_, " column = position.x, row = position.y;");
    at = {{"column", &x}, {"row", &y}};
    if (n > 2) {
      const AxisList rest(axes.begin(), axes.end() - 2);
      rest_ = rest;
      std::int64_t planes = 1;
      for (const Axis& a : rest) planes *= a.extent;
      grid_.z = static_cast<std::uint32_t>(planes);
      line("const ", index_, " plane = position.z;");
      for (const Coordinate& c : unflatten(rest_, "plane")) at.push_back(c);
    }
    const std::uint32_t width = static_cast<std::uint32_t>(std::min<std::int64_t>(x.extent, 32));
    std::uint32_t height = 1;
    while (2 * height * width <= 256 && height < grid_.y) height *= 2;
    group_ = {width, height};
  }

  void write(std::size_t output, const std::vector<Coordinate>& at) {
    const std::size_t port = port_named("out" + number(output));
    store(port, place(port, at), operand(p_.outputs[output].value));
  }

  // ---- Reductions ----

  void reduce() {
    std::vector<Coordinate> kept = begin_rows();
    row_inputs(kept);
    for (ValueId v : kept_)
      line(type_name(p_.values[v].dtype), " ", variable(v), "[", number(elements_), "];");
    for (int phase = 0; phase < p_.phases; ++phase) {
      if (stage_ == Stage::partial && phase == 1) break;
      row_instructions(phase);
      const Pass& pass = passes_[phase];
      if (stage_ == Stage::final)
        partial_results(pass);
      else if (!pass.values.empty() || !pass.reductions.empty())
        full_values(pass, kept);
      for (const Instruction* r : pass.reductions) finish(*r);
    }
    if (stage_ != Stage::partial) row_outputs(kept);
  }

  // Which row, or column, this thread works on.
  std::vector<Coordinate> begin_rows() {
    const auto rows = static_cast<std::uint32_t>(rows_);
    std::vector<Coordinate> at;
    switch (geometry_) {
      case Geometry::solo: {
        builtins_ = {"uint position [[thread_position_in_grid]]"};
        line("const ", index_, " row = position;");
        grid_ = {static_cast<std::uint32_t>(rows_ * columns_)};
        group_ = {std::min<std::uint32_t>(grid_.x, 256)};
        leader_ = "";
        break;
      }
      case Geometry::simd:
        builtins_ = {"uint threadgroup_index [[threadgroup_position_in_grid]]",
                     "uint simdgroup [[simdgroup_index_in_threadgroup]]",
                     "uint lane [[thread_index_in_simdgroup]]"};
        line("const ", index_, " row = threadgroup_index * 8 + simdgroup;");
        line("if (row >= ", extent("rows", rows_), ") return;");
        grid_ = {static_cast<std::uint32_t>(ceil_div(rows_, 8))};
        group_ = {256};
        leader_ = "lane == 0";
        break;
      case Geometry::group: {
        builtins_ = {chunks_ > 1 ? "uint2 threadgroup_index [[threadgroup_position_in_grid]]"
                                 : "uint threadgroup_index [[threadgroup_position_in_grid]]",
                     "uint thread_index [[thread_index_in_threadgroup]]",
                     "uint lane [[thread_index_in_simdgroup]]",
                     "uint simdgroup [[simdgroup_index_in_threadgroup]]"};
        if (chunks_ > 1) {
          line("const ", index_, " chunk = threadgroup_index.x, row = threadgroup_index.y;");
          grid_ = {static_cast<std::uint32_t>(chunks_), rows};
        } else {
          line("const ", index_, " row = threadgroup_index;");
          grid_ = {rows};
        }
        group_ = {static_cast<std::uint32_t>(lanes())};
        leader_ = "thread_index == 0";
        break;
      }
      default:  // columns
        builtins_ = {"uint3 position [[thread_position_in_grid]]",
                     "uint3 thread_index [[thread_position_in_threadgroup]]"};
        line("const ", index_, " column = position.x, row = position.z", chunks_ > 1 ? " / " : "",
             chunks_ > 1 ? extent("chunks", chunks_) : "", ";");
        if (chunks_ > 1)
          line("const ", index_, " chunk = position.z % ", extent("chunks", chunks_), ";");
        line("const uint slice = thread_index.y;");
        line("const bool inside = column < ", extent("columns", columns_), ";");
        grid_ = {static_cast<std::uint32_t>(ceil_div(columns_, 32)), 1,
                 static_cast<std::uint32_t>(rows_ * chunks_)};
        group_ = {32, 8};
        leader_ = "inside && slice == 0";
        for (const Coordinate& c : unflatten(inner_, "column")) at.push_back(c);
    }
    if (!outer_.empty())
      for (const Coordinate& c : unflatten(outer_, "row")) at.push_back(c);
    return at;
  }

  void row_inputs(const std::vector<Coordinate>& at) {
    for (std::size_t v = 0; v < p_.values.size(); ++v) {
      const Value& value = p_.values[v];
      if (value.extent != Extent::row || value.from != Value::From::input ||
          !has_port(static_cast<ValueId>(v)))
        continue;
      const auto id = static_cast<ValueId>(v);
      const std::size_t port = input_port(id);
      const std::string loaded = load(port, place(port, at));
      if (geometry_ == Geometry::columns)  // beyond the last column there is nothing to load
        line("const ", type_name(value.dtype), " ", variable(id), " = inside ? ",
             is_complex(value.dtype) ? load(port, "inside ? " + place(port, at) + " : 0") : loaded,
             " : ", type_name(value.dtype), "(0);");
      else
        declare(id, loaded);
    }
  }

  void row_instructions(int phase) {
    for (const Instruction& ins : p_.instructions)
      if (!ins.is_reduce && ins.phase == phase && p_.values[ins.out].extent == Extent::row &&
          (stage_ != Stage::partial || readable(ins)))
        declare(ins.out, expression(ins));
  }
  // In a partial kernel, row inputs that only later instructions need are not bound.
  bool readable(const Instruction& ins) const {
    for (ValueId v : ins.in)
      if (v != kNoValue && p_.values[v].from == Value::From::input && !has_port(v)) return false;
    return true;
  }

  std::string total(const Instruction& ins) const {
    return "total" + number(p_.values[ins.out].index);
  }
  std::string functor(const Instruction& ins) const {
    return std::string(reduction_name(ins.reduce)) + "<" + type_name(accumulator(p_, ins)) + ">";
  }
  void declare_totals(const Pass& pass) {
    for (const Instruction* r : pass.reductions)
      line(type_name(accumulator(p_, *r)), " ", total(*r), " = ", functor(*r), "::identity();");
  }

  void full_values(const Pass& pass, const std::vector<Coordinate>& kept) {
    declare_totals(pass);
    const std::string step = number(lanes());
    const std::string lane = geometry_ == Geometry::columns ? "slice"
                             : geometry_ == Geometry::group ? "thread_index"
                             : geometry_ == Geometry::simd  ? "lane"
                                                            : "0";
    const bool columns = geometry_ == Geometry::columns;
    if (columns) open("if (inside)");
    if (elements_ > 1 || !kept_.empty()) {
      open("for (int k = 0; k < " + number(elements_) + "; ++k)");
      line("const ", index_, " j = ", lane, " + k * ", step, ";");
      line("if (j >= ", extent("length", length_), ") break;");
    } else if (chunks_ > 1) {
      const std::int64_t chunk = ceil_div(ceil_div(length_, chunks_), lanes()) * lanes();
      const std::string size = extent("chunk_length", chunk);
      line("const ", index_, " last = min((chunk + 1) * ", size, ", ", extent("length", length_),
           ");");
      open("for (" + index_ + " j = chunk * " + size + " + " + lane + "; j < last; j += " + step +
           ")");
    } else {
      const std::string advance = lanes() == 1 ? "++j" : "j += " + step;
      open("for (" + index_ + " j = " + lane + "; j < " + extent("length", length_) + "; " +
           advance + ")");
    }
    std::vector<Coordinate> at = kept;
    for (const Coordinate& c : unflatten(reduced_, "j")) at.push_back(c);
    for (ValueId v : pass.values) compute(v, at);
    for (const Instruction* r : pass.reductions) {
      const std::string type = type_name(accumulator(p_, *r));
      const Value& in = p_.values[r->in[0]];
      const std::string x = operand(r->in[0]);
      line(total(*r), " = ", functor(*r), "::combine(", total(*r), ", ",
           type_name(in.dtype) == type ? x : "cast<" + type + ">(" + x + ")", ");");
    }
    for (std::size_t i : pass.outputs) write(i, at);
    close();
    if (columns) close();
  }

  void partial_results(const Pass& pass) {
    if (pass.reductions.empty()) return;
    declare_totals(pass);
    const std::string length = extent("length", length_);
    open("for (" + index_ + " j = lane; j < " + length + "; j += 32)");
    for (const Instruction* r : pass.reductions)
      line(total(*r), " = ", functor(*r), "::combine(", total(*r), ", ",
           load(port_named(partial_of(*r)), "row * " + length + " + j"), ");");
    close();
  }
  std::string partial_of(const Instruction& r) const {
    int k = 0;
    for (const Instruction& ins : p_.instructions) {
      if (&ins == &r) break;
      k += ins.is_reduce;
    }
    return "partial" + number(k);
  }

  // Threadgroup memory for a value a simdgroup or thread: two areas a type, used in turns.
  std::string area(const std::string& type) {
    int& used = areas_[type];
    const std::string name = "shared_" + type + (used % 2 ? "_b" : "_a");
    if (used++ < 2)
      line("threadgroup ", type, " ", name, "[",
           geometry_ == Geometry::columns ? "256" : number(lanes() / 32), "];");
    return name;
  }

  void finish(const Instruction& r) {
    const std::string type = type_name(accumulator(p_, r)), sum = total(r);
    std::string value = sum;
    switch (geometry_) {
      case Geometry::simd: value = functor(r) + "::simd(" + sum + ")"; break;
      case Geometry::group:
        value = "reduce_threadgroup<" + functor(r) + ">(" + sum + ", " + area(type) +
                ", lane, simdgroup, " + number(lanes() / 32) + ")";
        break;
      case Geometry::columns:
        value = "reduce_slices<" + functor(r) + ">(" + sum + ", " + area(type) +
                ", thread_index.x, slice)";
        break;
      default: break;
    }
    if (stage_ == Stage::partial) {
      line("const ", type, " part", number(p_.values[r.out].index), " = ", value, ";");
      const std::string row = geometry_ == Geometry::columns
                                  ? "(row * " + extent("columns", columns_) + " + column)"
                                  : std::string("row");
      open("if (" + leader_ + ")");
      store(port_named(partial_of(r)), row + " * " + extent("chunks", chunks_) + " + chunk",
            "part" + number(p_.values[r.out].index));
      close();
      return;
    }
    const std::string result = type_name(p_.values[r.out].dtype);
    declare(r.out, result == type ? value : "cast<" + result + ">(" + value + ")");
  }

  void row_outputs(const std::vector<Coordinate>& at) {
    bool any = false;
    for (std::size_t i = 0; i < p_.outputs.size(); ++i) {
      if (is_full(p_.outputs[i].value)) continue;
      if (!any && !leader_.empty()) open("if (" + leader_ + ")");
      any = true;
      write(i, at);
    }
    if (any && !leader_.empty()) close();
  }

  // The first operations, and a hash of the text.
  std::string name_of_text(const std::string& text) const {
    std::uint64_t hash = 0xcbf29ce484222325;
    for (const unsigned char c : text) hash = (hash ^ c) * 0x100000001b3;
    std::string name;
    int named = 0;
    std::string_view last;
    for (const Instruction& ins : p_.instructions) {
      const std::string_view op = ins.is_reduce ? cermet::name_of(ins.reduce) : info(ins.op).name;
      if (op == last) continue;
      last = op;
      if (named++ == 4) break;
      name += std::string(op) + "_";
    }
    if (stage_ == Stage::partial) name += "chunks_";
    static const char* const digits = "0123456789abcdef";
    for (int i = 0; i < 10; ++i) name += digits[hash >> (6 * i) & 15];
    return name;
  }

  const Program& p_;
  const Stage stage_;
  Geometry geometry_ = Geometry::flat;
  std::int64_t rows_, columns_, length_, chunks_ = 1;
  std::vector<Port> ports_;
  AxisList outer_, reduced_, inner_, rest_;
  std::string index_;
  std::vector<Pass> passes_;
  std::set<ValueId> kept_;  // values held in registers from one pass to the next
  std::int64_t elements_ = 1;
  std::vector<Member> members_;
  std::vector<std::byte> packed_;
  std::size_t alignment_ = 1;
  std::vector<std::string> builtins_;
  std::string leader_;  // which thread stores a row's values
  std::map<std::string, int> areas_;
  Size grid_, group_;
  std::ostringstream body_;
  int depth_ = 1;
};

}  // namespace

std::vector<ProgramKernel> generate(const Program& p) {
  std::vector<ProgramKernel> out;
  if (Generator::chunks(p) > 1) {
    out.push_back(Generator(p, Stage::partial).kernel());
    out.push_back(Generator(p, Stage::final).kernel());
  } else {
    out.push_back(Generator(p, Stage::whole).kernel());
  }
  return out;
}

bool supports(const Program& p) {
  // Constants, strides and extents are arguments, of up to 8 bytes each.
  std::size_t arrays = p.inputs.size() + p.outputs.size();
  if (Generator::chunks(p) > 1)  // partial results are buffers, too
    arrays += static_cast<std::size_t>(
        std::count_if(p.instructions.begin(), p.instructions.end(),
                      [](const Instruction& ins) { return ins.is_reduce; }));
  const std::size_t arguments = p.constants.size() + (arrays + 1) * p.domain.size() + 8;
  if (arrays >= kMaxBuffers || 8 * arguments >= kMaxBytesArgument ||
      p.outer_size() * p.inner_size() > std::numeric_limits<std::uint32_t>::max())
    return false;
  for (const Value& v : p.values)
    if (v.dtype == float64) return false;
  return std::none_of(p.instructions.begin(), p.instructions.end(),
                      [](const Instruction& ins) { return ins.compute == float64; });
}

namespace {

Tensor tensor(const Node& n) {
  return {n.buffer, static_cast<std::size_t>(n.offset) * size_of(n.dtype), n.dtype, n.shape,
          n.strides};
}

array array_of(Dtype dtype, std::uint64_t bits) {
  return array(borrow(&bits, sizeof bits, {}), {}, dtype);
}

// The input whose memory an output takes over: one that each thread reads only where it writes.
const Node* donor(const Program& p, const ProgramOutput& out, std::vector<bool>& donatable) {
  if (p.phases != 1 || p.values[out.value].extent != Extent::full) return nullptr;
  const Node& node = *out.nodes[0];
  for (std::size_t i = 0; i < p.inputs.size(); ++i) {
    const ProgramInput& in = p.inputs[i];
    const Node& n = *in.source.node();
    if (!donatable[i] || in.extent != Extent::full || n.dtype != node.dtype ||
        n.size != node.size || n.strides != row_major(n.shape))
      continue;
    // Both must have the domain's order.
    std::int64_t step = 1;
    int axis = static_cast<int>(p.domain.size()) - 1, k = static_cast<int>(in.axes.size()) - 1;
    bool same = in.axes.size() == p.domain.size();
    for (; same && axis >= 0; --axis, --k) {
      same = in.axes[k] == axis && out.strides[axis] == step;
      step *= p.domain[axis];
    }
    if (!same) continue;
    donatable[i] = false;
    return &n;
  }
  return nullptr;
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
  Node& result = *p.outputs[0].nodes[0];
  result.buffer = commands.allocate(static_cast<std::size_t>(result.size) * size_of(result.dtype));
  result.offset = 0;
  for (Node* n : p.outputs[0].nodes) {
    n->buffer = result.buffer;
    n->offset = 0;
    n->strides = row_major(n->shape);
  }
  // The addend over the product's axes.
  const ProgramInput& in = p.inputs[form.addend];
  const Node& c = *in.source.node();
  Strides strides(p.domain.size());
  int k = 0;
  for (std::size_t d = 0; d < c.shape.size(); ++d)
    if (c.shape[d] != 1) strides[in.axes[k++]] = c.strides[d];
  Tensor addend = tensor(c);
  addend.shape = product.shape;
  addend.strides = Strides(product.shape.size());
  k = 0;
  for (std::size_t d = 0; d < product.shape.size(); ++d)
    if (product.shape[d] != 1) addend.strides[d] = strides[k++];
  Tensor out = tensor(result);
  out.shape = product.shape;
  out.strides = row_major(product.shape);
  addmm(commands, addend, tensor(*product.inputs[0].node()), tensor(*product.inputs[1].node()),
        form.alpha, form.beta, out);
}

void run(Commands& commands, const Program& p, const std::vector<bool>& donatable) {
  const std::vector<ProgramKernel> kernels = generate(p);
  std::vector<Tensor> inputs, outputs, partial;
  for (const ProgramInput& in : p.inputs) inputs.push_back(tensor(*in.source.node()));
  std::vector<bool> left = donatable;
  for (const ProgramOutput& o : p.outputs) {
    Node& first = *o.nodes[0];
    if (const Node* from = donor(p, o, left)) {
      first.buffer = from->buffer;
      first.offset = from->offset;
    } else {
      first.buffer = commands.allocate(static_cast<std::size_t>(first.size) * size_of(first.dtype));
      first.offset = 0;
    }
    for (Node* n : o.nodes) {
      n->buffer = first.buffer;
      n->offset = first.offset;
      n->strides = row_major(n->shape);
    }
    outputs.push_back(tensor(first));
  }
  if (p.size() == 0) return;
  if (kernels.size() == 2)
    for (const Instruction& ins : p.instructions)
      if (ins.is_reduce)
        partial.push_back(commands.temporary(
            {p.outer_size() * p.inner_size() * Generator::chunks(p)}, accumulator(p, ins)));
  for (std::size_t k = 0; k < kernels.size(); ++k) {
    const ProgramKernel& kernel = kernels[k];
    std::vector<Argument> arguments;
    for (const auto& [from, index] : kernel.buffers) switch (from) {
        case ProgramKernel::From::input: arguments.push_back(in(inputs[index])); break;
        case ProgramKernel::From::output: arguments.push_back(out(outputs[index])); break;
        case ProgramKernel::From::partial:
          arguments.push_back(k == 0 ? out(partial[index]) : in(partial[index]));
      }
    if (!kernel.arguments.empty()) arguments.push_back(values(kernel.arguments));
    const Kernel& compiled = metal::kernel(kernel);
    if (kernel.groups)
      commands.groups(compiled, arguments, kernel.grid, kernel.group);
    else
      commands.threads(compiled, arguments, kernel.grid, kernel.group);
  }
}

}  // namespace cermet::metal
