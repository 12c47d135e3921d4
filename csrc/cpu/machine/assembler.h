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

// The code is a function of the table and a number n of elements, a multiple of the lanes: what is
// put before begin_loop() runs once, what follows for each vector of elements.
class Assembler {
 public:
  struct Facts {
    int lanes;
    int registers;   // of vectors that may be used
    int conditions;  // registers of conditions; 0: these are vectors
  };
  virtual ~Assembler() = default;
  virtual const Facts& facts() const = 0;
  // Whether an instruction of the step can read an operand from a slot or the constants. One of its
  // operands may be there.
  virtual bool reads_memory(const Step& step, int operand) const = 0;
  // Whether the result may have the register of an operand that ends.
  virtual bool may_share(const Step& step, int operand) const = 0;

  // `locations`: of all loads and stores, which name one by its place in this list.
  virtual void begin(std::span<const std::uint32_t> locations, bool has_rare) = 0;
  virtual void begin_loop() = 0;
  // Of the vector at a place: the `copy`-th of this turn of the loop.
  virtual void load(int out, Dtype dtype, int place, int copy) = 0;
  virtual void store(int from, Dtype dtype, int place, int copy) = 0;
  // All lanes of the first element at a location, and of a constant.
  virtual void broadcast(int out, Dtype dtype, std::uint32_t location) = 0;
  virtual void constant(int out, std::uint32_t bits) = 0;
  virtual void spill(int from, int slot, bool condition) = 0;
  virtual void reload(int out, int slot, bool condition) = 0;
  // Conditions are always in registers.
  virtual void emit(const Step& step, int out, const Operand (&in)[4]) = 0;
  // Bytes of what has been put.
  virtual std::size_t size() const = 0;
  // The function, which runs wherever it is put at a multiple of 64 bytes. A turn of its loop is
  // for so many vectors.
  virtual std::vector<std::uint8_t> finish(int slots, int vectors) = 0;
};

// Both make code on any processor. `wide`: AVX-512, else AVX2.
std::unique_ptr<Assembler> make_x86(bool wide);
std::unique_ptr<Assembler> make_arm();  // AArch64 with Advanced SIMD

}  // namespace cermet::cpu::machine
