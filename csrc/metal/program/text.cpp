// What the texts of all geometries have in common: arguments, places in memory, values.
#include "metal/program/text.h"

#include <algorithm>
#include <stdexcept>

namespace cermet::metal {
Writer::Writer(const Program& program, const std::vector<Port>& ports, const Form& form)
    : p_(program), ports_(ports), form_(form), index_(form.long_index ? "long" : "int") {
  passes_ = plan_passes(p_, form.elements ? &kept_ : nullptr);
}

ProgramKernel Writer::kernel() {
  scalars();
  if (form_.geometry == Geometry::flat)
    flat();
  else
    reduce();
  Text text;
  if (!members_.empty()) {
    text << "struct NAME_arguments {\n";
    for (const Member& m : members_) text << "  " << m.type << " " << m.name << ";\n";
    text << "};\n\n";
  }
  // The compiler is to spare registers for large threadgroups.
  text << "[[kernel";
  if (form_.lanes > 256) text << ", max_total_threads_per_threadgroup(" << form_.lanes << ")";
  text << "]] void NAME(\n";
  int slot = 0;
  for (const Port& port : ports_)
    text << "    device " << (port.output ? "" : "const ") << type_name(port.dtype) << "* "
         << port.name << " [[buffer(" << slot++ << ")]],\n";
  if (!members_.empty())
    text << "    constant NAME_arguments& arguments [[buffer(" << slot << ")]],\n";
  for (std::size_t i = 0; i < builtins_.size(); ++i)
    text << "    " << builtins_[i] << (i + 1 < builtins_.size() ? ",\n" : ") {\n");
  text << body_.str() << "}\n";

  ProgramKernel out;
  out.text = text.str();
  out.name = name_of_text(out.text);
  for (std::size_t at; (at = out.text.find("NAME")) != std::string::npos;)
    out.text.replace(at, 4, out.name);
  for (const Port& port : ports_) out.buffers.emplace_back(port.from, port.index);
  out.members = std::move(members_);
  out.groups = form_.geometry != Geometry::flat && form_.geometry != Geometry::solo;
  return out;
}

// ---- Arguments ----------------------------------------------------------------------------------

std::string Writer::argument(const std::string& type, const std::string& name, std::size_t size,
                             const Source& source) {
  const bool known = std::any_of(members_.begin(), members_.end(),
                                 [&](const Member& m) { return m.name == name; });
  if (!known) members_.push_back({type, name, size, source});
  return "arguments." + name;
}

std::string Writer::number(const std::string& name, const Source& source) {
  return argument(index_, name, form_.long_index ? 8 : 4, source);
}

std::string Writer::constant(ValueId v) {
  const Value& value = p_.values[v];
  const std::string name = std::string("c").append(std::to_string(value.index));
  Source source{Source::What::constant, {}, value.index};
  if (!is_complex(value.dtype))
    return argument(type_name(value.dtype), name, size_of(value.dtype), source);
  const std::string re = argument("float", name + "_re", 4, source);
  source.shift = 32;
  return "complex64(" + re + ", " + argument("float", name + "_im", 4, source) + ")";
}

// ---- Places -------------------------------------------------------------------------------------

Writer::Coordinates Writer::unflatten(AxisGroup group, std::size_t count, const std::string& flat) {
  Coordinates out;
  if (count == 1) return {{flat, group, 0}};
  std::string rest = flat;
  for (std::size_t a = count; a-- > 0;) {
    const std::string name = flat + std::to_string(a);
    if (a == 0) {
      line("const ", index_, " ", name, " = ", rest, ";");
    } else {
      const std::string size = number(name + "_extent", {Source::What::extent, group, a});
      line("const ", index_, " ", name, " = ", rest, " % ", size, ";");
      const std::string left = flat + "_over_" + std::to_string(a);
      if (a > 1) {
        line("const ", index_, " ", left, " = ", rest, " / ", size, ";");
        rest = left;
      } else {
        rest = rest + " / " + size;
      }
    }
    out.push_back({name, group, a});
  }
  return out;
}

std::string Writer::place(std::size_t port, const Coordinates& coordinates) {
  std::string out;
  for (const Coordinate& c : coordinates) {
    const Step step = axes(c.group)[c.index][port];
    if (step == Step::none) continue;
    if (!out.empty()) out += " + ";
    out += c.name;
    if (step == Step::length)
      out += " * " + number("length", &Numbers::length);
    else if (step == Step::any)
      out += " * " + number(ports_[port].name + "_" + c.name,
                            {Source::What::stride, c.group, c.index, port});
  }
  return out.empty() ? "0" : out;
}

std::string Writer::load(std::size_t port, const std::string& at) const {
  const Port& p = ports_[port];
  return is_complex(p.dtype) ? "load(" + p.name + ", " + at + ")" : p.name + "[" + at + "]";
}

void Writer::store(std::size_t port, const std::string& at, const std::string& value) {
  const Port& p = ports_[port];
  if (is_complex(p.dtype))
    line("store(", p.name, ", ", at, ", ", value, ");");
  else
    line(p.name, "[", at, "] = ", value, ";");
}

bool Writer::has_port(const std::string& name) const {
  return std::any_of(ports_.begin(), ports_.end(), [&](const Port& p) { return p.name == name; });
}
bool Writer::has_port(ValueId input) const {
  return has_port("in" + std::to_string(p_.values[input].index));
}
std::size_t Writer::port_named(const std::string& name) const {
  for (std::size_t i = 0; i < ports_.size(); ++i)
    if (ports_[i].name == name) return i;
  throw std::logic_error("metal: a program has no buffer " + name);
}
std::size_t Writer::input_port(ValueId v) const {
  return port_named("in" + std::to_string(p_.values[v].index));
}

void Writer::open(const std::string& head) {
  line(head, " {");
  ++depth_;
}
void Writer::close() {
  --depth_;
  line("}");
}

// ---- Values -------------------------------------------------------------------------------------

std::string Writer::variable(ValueId v) const {
  const Value& value = p_.values[v];
  std::string name = value.from == Value::From::input ? "x" : "v";
  return name.append(std::to_string(value.index));
}

// A value as an operand; inside the loop over a row a kept one is an element of its array.
std::string Writer::operand(ValueId v) {
  if (p_.values[v].from == Value::From::constant) return constant(v);
  return variable(v) + (kept_.contains(v) ? "[k]" : "");
}

// A call of the operation's function in ops/. Real functions are of float: 16-bit operands are
// widened, and such a result is rounded once.
std::string Writer::expression(const Instruction& ins) {
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

void Writer::declare(ValueId v, const std::string& value) {
  if (kept_.contains(v))
    line(variable(v), "[k] = ", value, ";");
  else
    line("const ", type_name(p_.values[v].dtype), " ", variable(v), " = ", value, ";");
}

void Writer::compute(ValueId v, const Coordinates& coordinates) {
  const Value& value = p_.values[v];
  if (value.from == Value::From::instruction) {
    declare(v, expression(p_.instructions[value.index]));
  } else if (value.from == Value::From::input) {
    const std::size_t port = input_port(v);
    declare(v, load(port, place(port, coordinates)));
  }
}

void Writer::write(std::size_t output, const Coordinates& at) {
  const std::size_t port = port_named("out" + std::to_string(output));
  store(port, place(port, at), operand(p_.outputs[output].value));
}

// Values of no axis at all: every thread has them.
void Writer::scalars() {
  for (std::size_t v = 0; v < p_.values.size(); ++v) {
    const Value& value = p_.values[v];
    if (value.extent == Extent::scalar && value.from == Value::From::input)
      compute(static_cast<ValueId>(v), {});
  }
  for (const Instruction& ins : p_.instructions)
    if (p_.values[ins.out].extent == Extent::scalar) compute(ins.out, {});
}

// The first operations, and a hash of the text.
std::string Writer::name_of_text(const std::string& text) const {
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
  if (form_.stage == Stage::partial) name += "chunks_";
  static const char* const digits = "0123456789abcdef";
  for (int i = 0; i < 10; ++i) name += digits[hash >> (6 * i) & 15];
  return name;
}

}  // namespace cermet::metal
