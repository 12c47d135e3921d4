// Steps that are several instructions of x86-64, or of a form that depends on their registers.
#pragma once

#include <utility>

#include "cpu/machine/micro.h"
#include "cpu/machine/x86_opcodes.h"

namespace cermet::cpu::machine::x86 {

enum Fma : std::uint8_t { k132 = 0x98, k213 = 0xa8, k231 = 0xb8 };
constexpr std::uint32_t kSign = 0x80000000u;

class Sequences : public Encoder {
 public:
  explicit Sequences(bool wide)
      : Encoder(wide), wide_(wide), first_(wide ? 30 : 14), second_(first_ + 1) {}

  // Masks begin with the second: the first means none, and the next is for sequences.
  static int mask(int condition) { return condition + 2; }

  void constant(int out, std::uint32_t bits) {
    if (bits == 0) return put(kXor, out, out, Last::reg(out));
    if (wide_) return put(kBroadcast, out, 0, Last::constant(bits), {.part = 16});
    put(kLoad, out, 0, Last::constant(bits));
  }
  void move(int out, int from) {
    if (out != from) put(kMove, out, 0, Last::reg(from));
  }

  void shift(int kind, int out, const Last& from, int count) {
    // The result is the second operand of this form.
    put(kShiftBy, kind, out, from, {.immediate = count});
  }
  void shift(int kind, const Opcode& variable, int out, int x, const Last& count) {
    if (count.where == Last::Where::constant)
      shift(kind, out, Last::reg(x), static_cast<int>(count.bits));
    else
      put(variable, out, x, count);
  }

  void get(int out, const Last& from) {
    if (from.where == Last::Where::constant)
      constant(out, from.bits);
    else if (from.where == Last::Where::memory)
      put(kLoad, out, 0, from);
    else if (from.base != out)
      put(kMove, out, 0, from);
  }

  void copysign(int out, int x, const Last& sign) {
    if (wide_) {  // a bit is the sign's where the constant's is 1, else x's
      move(first_, x);
      get(second_, sign);
      put(kTernary, first_, second_, Last::constant(kSign), {.immediate = 0xd8});
      return move(out, first_);
    }
    put(kAnd, first_, x, Last::constant(~kSign));
    get(second_, sign);
    put(kAnd, second_, second_, Last::constant(kSign));
    put(kOr, out, first_, Last::reg(second_));
  }

  // One of the three operands is overwritten: one that the result's register has, or a copy.
  void fma(const Step& step, int out, const Last (&in)[3]) {
    constexpr std::uint8_t kinds[] = {0, 4, 2, 6};  // by the signs
    const std::uint8_t kind = kinds[step.signs];
    const auto in_memory = [&](int i) { return in[i].where != Last::Where::reg; };
    const auto is_out = [&](int i) { return !in_memory(i) && in[i].base == out; };
    const auto run = [&](Fma form, int second, const Last& third) {
      put({kMap38, k66, static_cast<std::uint8_t>(form + kind)}, out, second, third);
    };
    int a = 0, b = 1;  // the factors
    if (is_out(1)) std::swap(a, b);
    const auto add_product = [&] {
      const bool swaps = in_memory(a);
      run(k231, in[swaps ? b : a].base, in[swaps ? a : b]);
    };
    if (is_out(2)) return add_product();
    if (!is_out(a)) {
      if (!in_memory(2)) {
        move(out, in[2].base);
        return add_product();
      }
      move(out, in[a].base);
    }
    if (in_memory(b)) return run(k132, in[2].base, in[b]);
    run(k213, in[b].base, in[2]);
  }

  // The sum carries into the upper half; a nan stays one.
  void round_bfloat16(int out, int x) {
    if (wide_) {
      put(kTestBits, 1, x, Last::constant(0x10000));
      put(kIntAdd, first_, x, Last::constant(0x7fff));
      put(kIntAdd, first_, x, Last::constant(0x8000), {.mask = 1});
      put(kCompare, 1, x, Last::reg(x), {.immediate = 3});
      put(kOr, first_, x, Last::constant(0x400000), {.mask = 1});
      return put(kAnd, out, first_, Last::constant(0xffff0000u));
    }
    shift(2, first_, Last::reg(x), 16);
    put(kAnd, first_, first_, Last::constant(1));
    put(kIntAdd, first_, first_, Last::reg(x));
    put(kIntAdd, first_, first_, Last::constant(0x7fff));
    put(kCompare, second_, x, Last::reg(x), {.immediate = 3});
    put(kOr, out, x, Last::constant(0x400000));
    put(kBlendVector, out, first_, Last::reg(out), {.immediate = second_ << 4});
    put(kAnd, out, out, Last::constant(0xffff0000u));
  }

  void scale(int out, int x, int k) {
    if (wide_) {
      put(kFromInt, first_, 0, Last::reg(k));
      return put(kScale, out, x, Last::reg(first_));
    }
    shift(4, first_, Last::reg(k), 1);
    put(kIntSubtract, second_, k, Last::reg(first_));
    for (const int half : {first_, second_}) {
      put(kIntAdd, half, half, Last::constant(127));
      shift(6, half, Last::reg(half), 23);
    }
    put(kMultiply, first_, x, Last::reg(first_));
    put(kMultiply, out, first_, Last::reg(second_));
  }
  void from_unsigned(int out, int x) {
    if (wide_) return put(kFromUnsigned, out, 0, Last::reg(x));
    shift(2, first_, Last::reg(x), 16);  // each half is exact, their sum rounds once
    put(kAnd, second_, x, Last::constant(0xffff));
    put(kFromInt, first_, 0, Last::reg(first_));
    put(kFromInt, second_, 0, Last::reg(second_));
    put(kMultiply, first_, first_, Last::constant(0x47800000u));
    put(kAdd, out, first_, Last::reg(second_));
  }
  void to_unsigned(int out, int x) {
    if (wide_) return put(kToUnsigned, out, 0, Last::reg(x));
    get(first_, Last::constant(0x4f000000u));  // 2^31
    put(kCompare, first_, first_, Last::reg(x), {.immediate = 18});
    put(kAnd, second_, first_, Last::constant(0x4f000000u));
    put(kSubtract, second_, x, Last::reg(second_));
    put(kToInt, second_, 0, Last::reg(second_));
    shift(6, first_, Last::reg(first_), 31);
    put(kXor, out, first_, Last::reg(second_));
  }

  void store_narrow(int from, int bytes, const Last& to, int mask) {
    if (wide_)
      return put(bytes == 2 ? kTo16 : kTo8, from, 0, to, {.mask = mask, .part = 4 / bytes});
    put(kAnd, first_, from, Last::constant(bytes == 2 ? 0xffff : 0xff));
    put(kUpperHalf, first_, 0, Last::reg(second_), {.immediate = 1});
    vex(kPackWords, first_, first_, Last::reg(second_), 0);
    if (bytes == 2 && to.where == Last::Where::reg) return;
    if (bytes == 2) return vex(kStore128, first_, 0, to, 0);
    vex(kPackBytes, first_, first_, Last::reg(first_), 0);
    vex(kStore64, first_, 0, to, 0);
  }

  // The instruction gives its second operand where one is a nan.
  void extreme(const Opcode& o, int out, int x, const Last& b) {
    if (wide_ && out == x) {  // which stays where it is one
      put(kCompare, 1, x, Last::reg(x), {.immediate = 7});
      return put(o, out, x, b, {.mask = 1});
    }
    if (wide_) {
      put(kCompare, 1, x, Last::reg(x), {.immediate = 3});
      put(o, out, x, b);
      return put(kMove, out, 0, Last::reg(x), {.mask = 1});
    }
    put(kCompare, second_, x, Last::reg(x), {.immediate = 3});
    put(o, first_, x, b);
    put(kBlendVector, out, first_, Last::reg(x), {.immediate = second_ << 4});
  }

  void compare(const Opcode& o, int predicate, int out, int x, const Last& b) {
    put(o, wide_ ? mask(out) : out, x, b, {.immediate = predicate});
  }
  void compare_wide(Micro op, int out, int x, const Last& b) {
    switch (op) {
      case Micro::int_equal: return compare(kIntCompare, 0, out, x, b);
      case Micro::int_not_equal: return compare(kIntCompare, 4, out, x, b);
      case Micro::int_less: return compare(kIntCompare, 1, out, x, b);
      case Micro::int_less_equal: return compare(kIntCompare, 2, out, x, b);
      case Micro::unsigned_less: return compare(kUnsignedCompare, 1, out, x, b);
      default: return compare(kUnsignedCompare, 2, out, x, b);
    }
  }
  void compare_integers(Micro op, int out, int x, const Last& b) {
    const auto invert = [&] { put(kXor, out, out, Last::constant(~0u)); };
    switch (op) {
      case Micro::int_equal: return put(kIntEqual, out, x, b);
      case Micro::int_not_equal: put(kIntEqual, out, x, b); return invert();
      case Micro::int_less: return put(kIntGreater, out, b.base, Last::reg(x));
      case Micro::int_less_equal: put(kIntGreater, out, x, b); return invert();
      case Micro::unsigned_less:  // not x = max(x, b)
        put(kUnsignedMax, first_, x, b);
        put(kIntEqual, out, first_, Last::reg(x));
        return invert();
      default: put(kUnsignedMin, first_, x, b); return put(kIntEqual, out, first_, Last::reg(x));
    }
  }
  void conditions(const Opcode& masks, const Opcode& vectors, int out, int x, int y) {
    if (wide_)
      vex(masks, mask(out), mask(x), Last::reg(mask(y)), 1);
    else
      put(vectors, out, x, Last::reg(y));
  }

 protected:
  const bool wide_;
  const int first_, second_;  // registers for what is between
};

}  // namespace cermet::cpu::machine::x86
