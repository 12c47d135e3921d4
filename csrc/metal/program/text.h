// The text of one kernel of a program. It has the program's instructions in its body, one line
// each; what differs from launch to launch (extents, strides other than 0 and 1, constants) is an
// argument, so one text serves many launches.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "graph/text.h"
#include "metal/program/geometry.h"
#include "metal/program/passes.h"

namespace cermet::metal {

class Writer {
 public:
  Writer(const Program& program, const std::vector<Port>& ports, const Form& form);
  ProgramKernel kernel();

 private:
  // A coordinate along an axis: the variable, and which axis it is of.
  struct Coordinate {
    std::string name;
    AxisGroup group;
    std::size_t index;
  };
  using Coordinates = std::vector<Coordinate>;

  // ---- Arguments ----
  std::string argument(const std::string& type, const std::string& name, std::size_t size,
                       const Source& source);
  // Of the type of indices.
  std::string number(const std::string& name, const Source& source);
  std::string number(const std::string& name, std::int64_t Numbers::* value) {
    return number(name, Source{Source::What::number, {}, 0, 0, 0, value});
  }
  std::string constant(ValueId v);

  // ---- Places ----
  // Declares the coordinates of the first `count` axes of a group from one flat variable.
  Coordinates unflatten(AxisGroup group, std::size_t count, const std::string& flat);
  Coordinates unflatten(AxisGroup group, const std::string& flat) {
    return unflatten(group, axes(group).size(), flat);
  }
  std::string place(std::size_t port, const Coordinates& coordinates);
  std::string load(std::size_t port, const std::string& at) const;
  void store(std::size_t port, const std::string& at, const std::string& value);
  bool has_port(const std::string& name) const;
  bool has_port(ValueId input) const;
  std::size_t port_named(const std::string& name) const;
  std::size_t input_port(ValueId v) const;

  // ---- Lines ----
  template <class... Parts>
  void line(const Parts&... parts) {
    body_ << std::string(2 * depth_, ' ');
    (body_ << ... << parts);
    body_ << "\n";
  }
  void open(const std::string& head);
  void close();

  // ---- Values ----
  bool is_full(ValueId v) const { return p_.values[v].extent == Extent::full; }
  const std::vector<std::vector<Step>>& axes(AxisGroup g) const {
    return form_.axes[static_cast<int>(g)];
  }
  std::string variable(ValueId v) const;
  std::string operand(ValueId v);
  std::string expression(const Instruction& ins);
  void declare(ValueId v, const std::string& value);
  void compute(ValueId v, const Coordinates& coordinates);
  void write(std::size_t output, const Coordinates& at);
  void scalars();

  // ---- Without reductions (flat.cpp) ----
  void flat();
  Coordinates grid();

  // ---- With reductions (reduce.cpp) ----
  void reduce();
  Coordinates begin_rows();
  void row_inputs(const Coordinates& at);
  void row_instructions(int phase);
  bool readable(const Instruction& ins) const;
  std::string functor(const Instruction& ins) const;
  void values_and_outputs(const Pass& pass, Coordinates at);
  void full_values(const Pass& pass, const Coordinates& kept);
  void reduce_values(const Pass& pass, const Coordinates& kept);
  void reduce_block(const Pass& pass, const Coordinates& kept, const std::string& begin,
                    const std::string& end);
  std::string folded(const Instruction& ins, const std::string& count);
  std::size_t partial_of(const Instruction& r) const;
  void areas(const Pass& pass);
  void finish(const Instruction& r, const std::string& value);
  void row_outputs(const Coordinates& at);

  std::string name_of_text(const std::string& text) const;

  const Program& p_;
  const std::vector<Port>& ports_;
  const Form& form_;
  const std::string index_;  // the type of indices
  std::vector<Pass> passes_;
  std::set<ValueId> kept_;  // values held in registers from one pass to the next
  std::vector<Member> members_;
  std::vector<std::string> builtins_;
  std::string leader_;           // which thread stores a row's values
  std::set<std::string> areas_;  // of threadgroup memory
  Text body_;
  int depth_ = 1;
};

}  // namespace cermet::metal
