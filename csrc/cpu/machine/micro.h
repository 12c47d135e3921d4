// Micro-operations: what elementwise functions are made of, on vectors of 32-bit lanes; and traces,
// lists of them in single static assignment form.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cermet/dtype.h"
#include "cpu/loops.h"

namespace cermet::cpu::machine {

// clang-format off
enum class Micro : std::uint8_t {
  // Sources: elements at a location of the table, widened to 32 bits; the first element at one,
  // whether it is the same in each row or not.
  load, broadcast, row, constant,
  // Floats.
  add, subtract, multiply, divide, negate, fma,
  // The first times a power of two, whose exponent is an integer; half of it loses no bit.
  abs, copysign, scale, sqrt, floor, ceil, trunc, rint,
  round_float16, round_bfloat16,
  // Floats and integers.
  from_int, from_unsigned, to_int, to_unsigned,
  // Integers, wrapping. A shift's count is below 32.
  int_add, int_subtract, int_multiply,
  shift_left, shift_right, unsigned_shift_right,
  bit_and, bit_or, bit_xor, bit_not,
  // The second where neither is larger or smaller; a nan wins, but of the two behind: it is the
  // second, too, where one is a nan.
  maximum, minimum, lesser, greater, int_maximum, int_minimum, unsigned_maximum, unsigned_minimum,
  // Conditions, from the comparison of two numbers and of conditions.
  equal, not_equal, less, less_equal,
  int_equal, int_not_equal, int_less, int_less_equal, unsigned_less, unsigned_less_equal,
  condition_and, condition_or, condition_xor, condition_not,
  // a ? b : c.
  select,
  // b, but where condition a holds what the loop gives for c and d.
  rare,
  // A row's elements a, combined in the order that all reductions have.
  reduce,
  // Of a value, narrowed, to a location; of a value a row to its first element.
  store, store_row,
};
// clang-format on

constexpr bool is_condition(Micro op) { return op >= Micro::equal && op <= Micro::condition_not; }

inline constexpr int kNoValue = -1;
// A value is the index of its step.
struct Step {
  Micro op;
  Dtype dtype = float32;  // in memory, of a load, broadcast or store
  // Of fma: 1 where the product is negated, 2 where the addend is, or both.
  std::uint8_t signs = 0;
  std::uint16_t loop = 0;      // of a load, store or reduce: a row is gone over several times
  bool streams = false;        // of a store: past the caches, where the place allows it
  Micro combine = Micro::add;  // of reduce
  std::int32_t in[4] = {kNoValue, kNoValue, kNoValue, kNoValue};
  std::uint32_t bits = 0;   // a constant, or a location; of reduce what changes nothing
  Loop function = nullptr;  // of `rare`
  bool operator==(const Step&) const = default;
};
// What a step gives for numbers; conditions are 0 or 1. Not of fma, roots and roundings.
std::uint32_t evaluate(const Step& step, std::uint32_t a, std::uint32_t b, std::uint32_t c);

class Trace {
 public:
  // The value of a step: an earlier one's where that is the same, whatever the order of operands
  // that may be exchanged. What is known already is not computed, and no bit of it is different.
  std::int32_t put(Step step);
  std::int32_t put(Micro op, std::int32_t a, std::int32_t b = kNoValue, std::int32_t c = kNoValue);
  std::int32_t constant(std::uint32_t bits);
  // Gives broadcasts from `from` on the locations from `to` on. Nothing is put afterwards.
  void move_scalars(std::uint32_t from, std::uint32_t to) {
    for (Step& s : steps_)
      if (s.op == Micro::broadcast && s.bits >= from) s.bits += to - from;
  }
  bool streams() const {
    return std::any_of(steps_.begin(), steps_.end(), [](const Step& s) { return s.streams; });
  }
  void never_stream() {
    for (Step& s : steps_) s.streams = false;
  }
  const std::vector<Step>& steps() const { return steps_; }
  const Step& operator[](std::int32_t value) const { return steps_[value]; }

 private:
  std::int32_t simplified(Step& step);
  bool is_constant(std::int32_t v) const { return steps_[v].op == Micro::constant; }
  std::int32_t append(const Step& step);
  void grow();

  std::vector<Step> steps_;
  std::vector<std::int32_t> table_;  // of hashes, open addressing: values, or kNoValue
};

}  // namespace cermet::cpu::machine
