// Traces as text.
#include "cpu/machine/print.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <utility>
#include <vector>

#include "graph/text.h"

namespace cermet::cpu::machine {
namespace {

// In the order of Micro.
// clang-format off
constexpr std::string_view kNames[] = {
    "load", "broadcast", "row", "constant", "add", "subtract", "multiply", "divide", "negate",
    "fma", "abs", "copysign", "scale", "sqrt", "floor", "ceil", "trunc", "rint", "round_float16",
    "round_bfloat16", "from_int", "from_unsigned", "to_int", "to_unsigned", "int_add",
    "int_subtract", "int_multiply", "shift_left", "shift_right", "unsigned_shift_right",
    "bit_and", "bit_or", "bit_xor", "bit_not", "maximum", "minimum", "lesser", "greater", "int_maximum", "int_minimum",
    "unsigned_maximum", "unsigned_minimum", "equal", "not_equal", "less", "less_equal",
    "int_equal", "int_not_equal", "int_less", "int_less_equal", "unsigned_less",
    "unsigned_less_equal", "condition_and", "condition_or", "condition_xor", "condition_not",
    "select", "rare", "reduce", "store", "store_row",
};
// clang-format on
static_assert(std::size(kNames) == static_cast<std::size_t>(Micro::store_row) + 1);

bool reads_floats(Micro op) {
  return (op >= Micro::add && op <= Micro::round_bfloat16) || op == Micro::to_int ||
         op == Micro::to_unsigned || (op >= Micro::maximum && op <= Micro::greater) ||
         (op >= Micro::equal && op <= Micro::less_equal);
}
bool reads_integers(Micro op) {
  return op > Micro::round_bfloat16 && op < Micro::condition_and && !reads_floats(op);
}
// A constant as its reader takes it; where both is possible, small integers are such.
void print_constant(Text& out, std::uint32_t bits, Micro reader) {
  const auto x = std::bit_cast<float>(bits);
  const auto i = static_cast<std::int32_t>(bits);
  if (reads_floats(reader) ||
      (!reads_integers(reader) && std::abs(static_cast<std::int64_t>(i)) >= 1 << 20))
    out << x;
  else
    out << i;
}

thread_local Listing* t_listing = nullptr;

}  // namespace

std::string_view name_of(Micro op) { return kNames[static_cast<std::size_t>(op)]; }

std::string to_string(const Trace& trace) {
  const std::vector<Step>& steps = trace.steps();
  std::vector<char> needed(steps.size());
  for (std::size_t v = steps.size(); v-- > 0;) {
    needed[v] |= steps[v].op >= Micro::store;
    for (const std::int32_t in : steps[v].in)
      if (needed[v] && in != kNoValue) needed[in] = 1;
  }
  std::vector<int> number(steps.size());
  int values = 0;
  Text out;
  std::vector<std::uint32_t> places;
  const auto place = [&](std::uint32_t location) {
    const auto at = std::find(places.begin(), places.end(), location) - places.begin();
    if (at == std::ssize(places)) places.push_back(location);
    return at;
  };
  const auto operand = [&](std::int32_t v, Micro reader) {
    if (steps[v].op == Micro::constant)
      print_constant(out, steps[v].bits, reader);
    else
      out << 't' << number[v];
  };
  for (std::size_t v = 0; v < steps.size(); ++v) {
    const Step& s = steps[v];
    if (!needed[v] || s.op == Micro::constant) continue;
    out << "    ";
    if (s.op < Micro::store) out << 't' << (number[v] = values++) << " = ";
    out << name_of(s.op);
    const bool loops = s.op == Micro::load || s.op == Micro::store || s.op == Micro::reduce;
    if (s.op == Micro::reduce) out << '_' << name_of(s.combine);
    if (s.op < Micro::constant || s.op >= Micro::store)
      out << ' ' << name_of(s.dtype) << " p" << place(s.bits);
    const char* before = s.op < Micro::constant || s.op >= Micro::store ? ", " : " ";
    for (int k = 0; k < 4; ++k) {
      if (s.in[k] == kNoValue) continue;
      out << before;
      if ((k == 0 && s.signs & 1) || (k == 2 && s.signs & 2)) out << '-';
      operand(s.in[k], s.op);
      before = ", ";
    }
    if (loops && s.loop) out << "  (loop " << int{s.loop} << ')';
    out << '\n';
  }
  return out.str();
}

Listing::Listing() : outer_(std::exchange(t_listing, this)) {}
Listing::~Listing() { t_listing = outer_; }
Listing* Listing::current() { return t_listing; }

void Listing::add(const Trace& trace, const std::optional<Generated>& generated) {
  Text out;
  out << "  micro-operations:\n" << to_string(trace) << "  machine code: ";
  if (!generated) {
    out << "none\n";
  } else {
    out << generated->code.size() << " bytes, " << generated->lanes << " elements a turn, "
        << generated->spilled << " values on the stack\n    ";
    constexpr char digits[] = "0123456789abcdef";
    for (const std::uint8_t byte : generated->code) out << digits[byte >> 4] << digits[byte & 15];
    out << '\n';
  }
  text_ += out.str();
}

}  // namespace cermet::cpu::machine
