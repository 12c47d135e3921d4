// The private submodule _machine: the encoders of machine code, for tests that disassemble what
// they write.
#include "cpu/machine/assembler.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>

#include <algorithm>

#include "bindings.h"

namespace cermet::python {
namespace {

using cpu::machine::Assembler, cpu::machine::Micro, cpu::machine::Step;

class Encoder {
 public:
  explicit Encoder(const std::string& name) {
    if (name != "avx2" && name != "avx512" && name != "neon")
      throw std::invalid_argument("Encoder: expected avx2, avx512 or neon, not '" + name + "'");
    assembler_ =
        name == "neon" ? cpu::machine::make_arm() : cpu::machine::make_x86(name == "avx512");
  }
  // With rows all pointers advance, by the bytes at `steps` and on.
  void begin(std::vector<std::uint32_t> locations, bool has_rare,
             std::optional<std::uint32_t> steps) {
    locations_ = std::move(locations);
    Assembler::Shape shape{locations_, has_rare, steps.has_value()};
    if (steps) shape.all = locations_, shape.steps = *steps;
    assembler_->begin(shape);
  }
  // Operands are kinds (of Operand::Kind) and values.
  void emit(int op, int out, const std::vector<std::pair<int, std::uint32_t>>& operands, int signs,
            std::uint64_t loop) {
    Step step{static_cast<Micro>(op)};
    step.signs = static_cast<std::uint8_t>(signs);
    step.function = reinterpret_cast<cpu::Loop>(static_cast<std::uintptr_t>(loop));
    using Operand = cpu::machine::Operand;
    Operand in[4];
    for (std::size_t k = 0; k < std::min(operands.size(), std::size(in)); ++k)
      in[k] = {static_cast<Operand::Kind>(operands[k].first), operands[k].second};
    assembler_->emit(step, out, in);
  }
  bool reads_memory(int op, int operand) const {
    return assembler_->reads_memory({static_cast<Micro>(op)}, operand);
  }
  nb::bytes finish(int slots) {
    const std::vector<std::uint8_t> code = assembler_->finish(slots);
    return nb::bytes(code.data(), code.size());
  }
  Assembler* operator->() { return assembler_.get(); }

 private:
  std::unique_ptr<Assembler> assembler_;
  std::vector<std::uint32_t> locations_;
};

}  // namespace

void bind_machine(nb::module_& m) {
  nb::module_ sub = m.def_submodule("_machine", "The encoders of machine code.");
  nb::class_<Encoder>(sub, "Encoder", "Writes one function, for any processor.")
      .def(nb::init<const std::string&>(), "name"_a)
      .def_prop_ro(
          "size", [](Encoder& e) { return e->size(); }, "Bytes so far.")
      .def("reads_memory", &Encoder::reads_memory, "op"_a, "operand"_a)
      .def("begin", &Encoder::begin, "locations"_a, "has_rare"_a, "steps"_a = nb::none())
      .def("begin_rows", [](Encoder& e) { e->begin_rows(); })
      .def("end_rows", [](Encoder& e) { e->end_rows(); })
      .def("begin_loop", [](Encoder& e) { e->begin_loop(); })
      .def(
          "end_loop", [](Encoder& e, int vectors) { e->end_loop(vectors); }, "vectors"_a)
      .def("begin_rest", [](Encoder& e) { e->begin_rest(); })
      .def("end_rest", [](Encoder& e) { e->end_rest(); })
      .def(
          "keep", [](Encoder& e, int out, int from, int copy) { e->keep(out, from, copy); },
          "out"_a, "register"_a, "copy"_a)
      .def(
          "fold", [](Encoder& e, int out, int from, int lanes) { e->fold(out, from, lanes); },
          "out"_a, "register"_a, "lanes"_a)
      .def(
          "splat", [](Encoder& e, int out, int from) { e->splat(out, from); }, "out"_a,
          "register"_a)
      .def(
          "move", [](Encoder& e, int out, int from) { e->move(out, from); }, "out"_a, "register"_a)
      .def(
          "store_row",
          [](Encoder& e, int from, Dtype dtype, std::uint32_t location) {
            e->store_row(from, dtype, location);
          },
          "register"_a, "dtype"_a, "location"_a)
      .def(
          "load",
          [](Encoder& e, int out, Dtype dtype, int place, int copy) {
            e->load(out, dtype, place, copy);
          },
          "out"_a, "dtype"_a, "place"_a, "copy"_a)
      .def(
          "store",
          [](Encoder& e, int from, Dtype dtype, int place, int copy, bool streams) {
            e->store(from, dtype, place, copy, streams);
          },
          "register"_a, "dtype"_a, "place"_a, "copy"_a, "streams"_a = false)
      .def(
          "broadcast",
          [](Encoder& e, int out, Dtype dtype, std::uint32_t location) {
            e->broadcast(out, dtype, location);
          },
          "out"_a, "dtype"_a, "location"_a)
      .def(
          "constant", [](Encoder& e, int out, std::uint32_t bits) { e->constant(out, bits); },
          "out"_a, "bits"_a)
      .def(
          "spill",
          [](Encoder& e, int from, int slot, bool condition) { e->spill(from, slot, condition); },
          "register"_a, "slot"_a, "condition"_a)
      .def(
          "reload",
          [](Encoder& e, int out, int slot, bool condition) { e->reload(out, slot, condition); },
          "out"_a, "slot"_a, "condition"_a)
      .def("emit", &Encoder::emit, "op"_a, "out"_a, "operands"_a, "signs"_a = 0, "loop"_a = 0)
      .def("finish", &Encoder::finish, "slots"_a);
}

}  // namespace cermet::python
