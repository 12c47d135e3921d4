// Elementwise operations: the enumeration, the table's facts and the functions of elementwise.def.
//
// Inputs broadcast against each other as NumPy's do. A dtype an operation does not take raises
// std::invalid_argument that names the operation.
#pragma once

#include <span>
#include <string_view>

#include "cermet/array.h"

namespace cermet {

// Which dtypes an operation computes in and returns, from its inputs' promoted type T.
enum class Rule : std::uint8_t {
  same,          // T -> T
  inexact,       // T, integers as float32 -> the same
  real_inexact,  // as inexact; complex64 is refused
  real,          // T -> T; complex64 is refused
  rounding,      // T -> T, the identity for integers; complex64 is refused
  magnitude,     // T -> T; complex64 -> float32
  component,     // T -> T; complex64 -> float32
  comparison,    // T -> bool
  predicate,     // T -> bool
  logical,       // bool -> bool
  bitwise,       // integers and bool only: T -> T
  choice,        // bool, T, T -> T
};

enum class Op : std::uint8_t {
#define CERMET_ELEMENTWISE(name, arity, rule, doc) name,
#include "cermet/elementwise.def"
#undef CERMET_ELEMENTWISE
  cast,  // to the node's dtype: in the programs as an operation, with no row of its own
};
inline constexpr int kOpCount = static_cast<int>(Op::cast) + 1;

struct OpInfo {
  std::string_view name;
  int arity;
  Rule rule;
  std::string_view doc;
};
// The table's row of an operation.
const OpInfo& info(Op op);
// All rows, in the order of Op, cast excluded.
std::span<const OpInfo> elementwise_table();

// Applies an operation to as many inputs as its arity says.
array elementwise(Op op, std::span<const array> inputs, StreamOrDevice s = {});
array elementwise(Op op, const array& a, StreamOrDevice s = {});
array elementwise(Op op, const array& a, const array& b, StreamOrDevice s = {});
array elementwise(Op op, const array& a, const array& b, const array& c, StreamOrDevice s = {});

// The functions by name: exp(a), add(a, b), select(condition, a, b).
#define CERMET_1(name) \
  inline array name(const array& a, StreamOrDevice s = {}) { return elementwise(Op::name, a, s); }
#define CERMET_2(name)                                                       \
  inline array name(const array& a, const array& b, StreamOrDevice s = {}) { \
    return elementwise(Op::name, a, b, s);                                   \
  }
#define CERMET_3(name)                                                                       \
  inline array name(const array& a, const array& b, const array& c, StreamOrDevice s = {}) { \
    return elementwise(Op::name, a, b, c, s);                                                \
  }
#define CERMET_ELEMENTWISE(name, arity, rule, doc) CERMET_##arity(name)
#include "cermet/elementwise.def"
#undef CERMET_ELEMENTWISE
#undef CERMET_1
#undef CERMET_2
#undef CERMET_3

}  // namespace cermet
