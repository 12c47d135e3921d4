// What the generator asks of an instruction set: its registers, and how a step is encoded.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "cpu/machine/micro.h"

namespace cermet::cpu::machine {

// Where an instruction finds an operand: in a register, on the stack, or among the constants.
struct Operand {
  enum class Kind : std::uint8_t { none, reg, slot, constant } kind = Kind::none;
  std::uint32_t value = 0;  // the register's or slot's number, the constant's bits
};

// The code is a function of the table, a number n of elements, and of rows. It has a part that runs
// once; in rows, one that runs for each; in these, loops over elements. Flat code has no rows, and
// one loop, for which n is a multiple of its turn. A loop of rows has turns of kLanes elements and,
// if asked for, a masked turn for what is left.
class Assembler {
 public:
  struct Facts {
    int lanes;
    int registers;   // of vectors that may be used
    int conditions;  // registers of conditions; 0: these are vectors
    bool masks;      // there are masked turns
  };
  virtual ~Assembler() = default;
  virtual const Facts& facts() const = 0;
  // Whether an instruction of the step can read an operand from a slot or the constants. One of its
  // operands may be there.
  virtual bool reads_memory(const Step& step, int operand) const = 0;
  // Whether the result may have the register of an operand that ends.
  virtual bool may_share(const Step& step, int operand) const = 0;

  // `locations`: of all loads and stores, which name one by its place in this list. Of rows the
  // pointers advance by the bytes that the table has at `steps` and on, in the order of `all`.
  struct Shape {
    std::span<const std::uint32_t> locations;
    bool has_rare = false, has_rows = false;
    std::span<const std::uint32_t> all = {};
    std::uint32_t steps = 0;
  };
  virtual void begin(const Shape& shape) = 0;
  virtual void begin_rows() = 0;
  virtual void end_rows() = 0;
  virtual void begin_loop() = 0;
  virtual void end_loop(int vectors) = 0;
  // The masked turn: loads give zeros, stores nothing, behind the last element.
  virtual void begin_rest() = 0;
  virtual void end_rest() = 0;
  // Of the vector at a place: the `copy`-th of this turn of the loop.
  virtual void load(int out, Dtype dtype, int place, int copy) = 0;
  // `streams`: past the caches, if the instruction set can; the place is a multiple of 64 bytes.
  virtual void store(int from, Dtype dtype, int place, int copy, bool streams) = 0;
  virtual void store_row(int from, Dtype dtype, std::uint32_t location) = 0;
  // `out` becomes `from` where the masked turn has elements.
  virtual void keep(int out, int from, int copy) = 0;
  // Lane l of `out` is lane l + lanes of `from`, for the first lanes; and lane 0 in all.
  virtual void fold(int out, int from, int lanes) = 0;
  virtual void splat(int out, int from) = 0;
  virtual void move(int out, int from) = 0;
  // All lanes of the first element at a location, and of a constant.
  virtual void broadcast(int out, Dtype dtype, std::uint32_t location) = 0;
  virtual void constant(int out, std::uint32_t bits) = 0;
  virtual void spill(int from, int slot, bool condition) = 0;
  virtual void reload(int out, int slot, bool condition) = 0;
  // Conditions are always in registers.
  virtual void emit(const Step& step, int out, const Operand (&in)[4]) = 0;
  // Bytes of what has been put.
  virtual std::size_t size() const = 0;
  // The function, which runs wherever it is put at a multiple of 64 bytes.
  virtual std::vector<std::uint8_t> finish(int slots) = 0;
};

// Both make code on any processor. `wide`: AVX-512, else AVX2.
std::unique_ptr<Assembler> make_x86(bool wide);
std::unique_ptr<Assembler> make_arm();  // AArch64 with Advanced SIMD

}  // namespace cermet::cpu::machine
