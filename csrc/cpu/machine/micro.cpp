// Traces: equal steps merged, constants folded, signs moved into what takes them for nothing.
#include "cpu/machine/micro.h"

#include <bit>
#include <utility>

#include "graph/hash.h"

namespace cermet::cpu::machine {
namespace {

float as_float(std::uint32_t b) { return std::bit_cast<float>(b); }
std::uint32_t as_bits(float x) { return std::bit_cast<std::uint32_t>(x); }
std::int32_t as_int(std::uint32_t b) { return static_cast<std::int32_t>(b); }

constexpr std::uint32_t kSign = 0x80000000u;

bool commutes(Micro op) {
  switch (op) {
    case Micro::add:
    case Micro::multiply:
    case Micro::fma:
    case Micro::int_add:
    case Micro::int_multiply:
    case Micro::bit_and:
    case Micro::bit_or:
    case Micro::bit_xor:
    case Micro::equal:
    case Micro::not_equal:
    case Micro::int_equal:
    case Micro::int_not_equal:
    case Micro::condition_and:
    case Micro::condition_or:
    case Micro::condition_xor: return true;
    default: return false;
  }
}

// Whether `evaluate` knows it: what a library would compute is left.
bool folds(Micro op) {
  return op > Micro::constant && op < Micro::rare && op != Micro::fma &&
         (op < Micro::sqrt || op > Micro::round_bfloat16);
}

std::size_t hash_of(const Step& s) {
  const auto pair = [](std::int32_t a, std::int32_t b) {
    return std::uint64_t{static_cast<std::uint32_t>(a)} << 32 | static_cast<std::uint32_t>(b);
  };
  const std::uint64_t what = std::uint64_t{s.bits} << 32 | std::uint64_t{s.loop} << 24 |
                             static_cast<std::uint64_t>(s.op) << 16 |
                             static_cast<std::uint64_t>(s.dtype) << 8 | s.signs;
  const std::size_t h = mix(mix(mix(0, what), pair(s.in[0], s.in[1])), pair(s.in[2], s.in[3]));
  return h ^ h >> 32;
}

}  // namespace

std::uint32_t evaluate(const Step& s, std::uint32_t a, std::uint32_t b, std::uint32_t c) {
  const float x = as_float(a), y = as_float(b);
  switch (s.op) {
    case Micro::constant: return s.bits;
    case Micro::add: return as_bits(x + y);
    case Micro::subtract: return as_bits(x - y);
    case Micro::multiply: return as_bits(x * y);
    case Micro::divide: return as_bits(x / y);
    case Micro::negate: return a ^ kSign;
    case Micro::abs: return a & ~kSign;
    case Micro::copysign: return (a & ~kSign) | (b & kSign);
    case Micro::scale: {
      const std::int32_t k = as_int(b), part = k >> 1;
      const auto power = [](std::int32_t e) {
        return as_float(static_cast<std::uint32_t>(e + 127) << 23);
      };
      return as_bits(x * power(part) * power(k - part));
    }
    case Micro::from_int: return as_bits(static_cast<float>(as_int(a)));
    case Micro::from_unsigned: return as_bits(static_cast<float>(a));
    // What is out of range is never used.
    case Micro::to_int:
    case Micro::to_unsigned:
      return x > -0x1p32f && x < 0x1p32f ? static_cast<std::uint32_t>(static_cast<std::int64_t>(x))
                                         : 0;
    case Micro::int_add: return a + b;
    case Micro::int_subtract: return a - b;
    case Micro::int_multiply: return a * b;
    case Micro::shift_left: return a << (b & 31);
    case Micro::shift_right: return static_cast<std::uint32_t>(as_int(a) >> (b & 31));
    case Micro::unsigned_shift_right: return a >> (b & 31);
    case Micro::bit_and: return a & b;
    case Micro::bit_or: return a | b;
    case Micro::bit_xor: return a ^ b;
    case Micro::bit_not: return ~a;
    case Micro::maximum: return x > y || x != x ? a : b;
    case Micro::minimum: return x < y || x != x ? a : b;
    case Micro::lesser: return x < y ? a : b;
    case Micro::greater: return x > y ? a : b;
    case Micro::int_maximum: return as_int(a) > as_int(b) ? a : b;
    case Micro::int_minimum: return as_int(a) < as_int(b) ? a : b;
    case Micro::unsigned_maximum: return a > b ? a : b;
    case Micro::unsigned_minimum: return a < b ? a : b;
    case Micro::equal: return x == y;
    case Micro::not_equal: return x != y;
    case Micro::less: return x < y;
    case Micro::less_equal: return x <= y;
    case Micro::int_equal: return a == b;
    case Micro::int_not_equal: return a != b;
    case Micro::int_less: return as_int(a) < as_int(b);
    case Micro::int_less_equal: return as_int(a) <= as_int(b);
    case Micro::unsigned_less: return a < b;
    case Micro::unsigned_less_equal: return a <= b;
    case Micro::condition_and: return a & b;
    case Micro::condition_or: return a | b;
    case Micro::condition_xor: return a ^ b;
    case Micro::condition_not: return a ^ 1;
    case Micro::select: return a ? b : c;
    default: return a;
  }
}

std::int32_t Trace::put(Micro op, std::int32_t a, std::int32_t b, std::int32_t c) {
  Step step{op};
  step.in[0] = a, step.in[1] = b, step.in[2] = c;
  return put(step);
}

std::int32_t Trace::constant(std::uint32_t bits) {
  Step step{Micro::constant};
  step.bits = bits;
  return put(step);
}

std::int32_t Trace::put(Step step) {
  if (step.op >= Micro::store) return append(step);
  if (step.op > Micro::constant)
    if (const std::int32_t known = simplified(step); known != kNoValue) return known;
  if (2 * (steps_.size() + 1) > table_.size()) grow();
  std::size_t at = hash_of(step) & (table_.size() - 1);
  for (; table_[at] != kNoValue; at = (at + 1) & (table_.size() - 1))
    if (steps_[table_[at]] == step) return table_[at];
  return table_[at] = append(step);
}

// A value that the step need not compute, or none; the step may become another.
std::int32_t Trace::simplified(Step& s) {
  std::int32_t &a = s.in[0], &b = s.in[1], &c = s.in[2];
  const auto op_of = [&](std::int32_t v) { return v == kNoValue ? Micro::store : steps_[v].op; };
  const auto strip = [&](std::int32_t& v) {  // of its negation; whether it had one
    if (op_of(v) != Micro::negate) return false;
    v = steps_[v].in[0];
    return true;
  };
  switch (s.op) {
    case Micro::negate:
      if (op_of(a) == Micro::negate) return steps_[a].in[0];
      break;
    case Micro::abs:
      while (op_of(a) == Micro::negate || op_of(a) == Micro::abs) a = steps_[a].in[0];
      break;
    case Micro::copysign:
      while (op_of(a) == Micro::negate || op_of(a) == Micro::abs) a = steps_[a].in[0];
      break;
    case Micro::fma:
      s.signs ^= static_cast<std::uint8_t>(strip(a) ^ strip(b));
      if (strip(c)) s.signs ^= 2;
      break;
    case Micro::add:
      if (strip(b) || (strip(a) && (std::swap(a, b), true))) s.op = Micro::subtract;
      break;
    case Micro::subtract:
      if (strip(b)) s.op = Micro::add;
      break;
    case Micro::round_float16:
    case Micro::round_bfloat16:
      if (op_of(a) == s.op) return a;
      break;
    case Micro::select:
      if (is_constant(a)) return steps_[a].bits ? b : c;
      if (b == c) return b;
      if (op_of(a) == Micro::less) {
        const std::int32_t less = steps_[a].in[0], more = steps_[a].in[1];
        if (b == less && c == more) return put(Micro::lesser, less, more);
        if (b == more && c == less) return put(Micro::greater, more, less);
      }
      break;
    case Micro::maximum:
    case Micro::minimum: {  // of a number that is not one of several zeros or a nan
      const Micro op = s.op == Micro::maximum ? Micro::greater : Micro::lesser;
      const auto is_number = [&](std::int32_t v) {
        return is_constant(v) && as_float(steps_[v].bits) == as_float(steps_[v].bits);
      };
      if (is_number(a)) return put(op, a, b);
      if (is_number(b) && as_float(steps_[b].bits) != 0.0f) return put(op, b, a);
      break;
    }
    case Micro::int_add:
      for (const auto& [known, other] : {std::pair{a, b}, std::pair{b, a}})
        if (is_constant(known) && steps_[known].bits == 0) return other;
      break;
    case Micro::int_subtract:
      if (is_constant(b) && steps_[b].bits == 0) return a;
      break;
    case Micro::rare:
      if (!is_constant(a)) break;
      if (!steps_[a].bits) return b;
      if (is_constant(c) && is_constant(s.in[3])) {
        std::uint32_t result = 0;
        s.function(&result, &steps_[c].bits, &steps_[s.in[3]].bits, nullptr, 1);
        return constant(result);
      }
      b = is_constant(c) ? s.in[3] : c;  // a condition that always holds, in a register
      a = put(Micro::int_equal, b, b);
      break;
    case Micro::condition_xor:
      for (const auto& [known, other] : {std::pair{a, b}, std::pair{b, a}})
        if (is_constant(known) && !is_constant(other))
          return steps_[known].bits ? put(Micro::condition_not, other) : other;
      break;
    case Micro::condition_and:
    case Micro::condition_or:
      if (a == b) return a;
      for (const auto& [known, other] : {std::pair{a, b}, std::pair{b, a}})
        if (is_constant(known))
          return (s.op == Micro::condition_and) == (steps_[known].bits != 0) ? other : known;
      break;
    default: break;
  }
  if (commutes(s.op)) {  // a constant last, for an instruction can read it from memory
    const bool swaps = is_constant(a) != is_constant(b) ? is_constant(a) : a > b;
    if (swaps) std::swap(a, b);
  }
  if (!folds(s.op)) return kNoValue;
  std::uint32_t known[3] = {};
  for (int i = 0; i < 3; ++i) {
    if (s.in[i] == kNoValue) continue;
    if (!is_constant(s.in[i])) return kNoValue;
    known[i] = steps_[s.in[i]].bits;
  }
  return constant(evaluate(s, known[0], known[1], known[2]));
}

std::int32_t Trace::append(const Step& step) {
  steps_.push_back(step);
  return static_cast<std::int32_t>(steps_.size()) - 1;
}

void Trace::grow() {
  table_.assign(table_.empty() ? 256 : 2 * table_.size(), kNoValue);
  for (std::size_t v = 0; v < steps_.size(); ++v) {
    if (steps_[v].op >= Micro::store) continue;
    std::size_t at = hash_of(steps_[v]) & (table_.size() - 1);
    while (table_[at] != kNoValue) at = (at + 1) & (table_.size() - 1);
    table_[at] = static_cast<std::int32_t>(v);
  }
}

}  // namespace cermet::cpu::machine
