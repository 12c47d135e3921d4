// Elementwise functions: those of elementwise.def by a loop over the table, and compositions.
#include <algorithm>
#include <string>

#include "bindings.h"
#include "scalars.h"

namespace cermet::python {
namespace {

using namespace std::string_literals;

// What a rule means to the caller.
const char* rule_doc(Rule rule) {
  switch (rule) {
    case Rule::inexact: return " Integers are computed as float32.";
    case Rule::real_inexact:
      return " Integers are computed as float32; complex elements raise ValueError.";
    case Rule::real:
    case Rule::rounding: return " Complex elements raise ValueError.";
    case Rule::comparison:
    case Rule::predicate:
    case Rule::logical: return " The result is boolean.";
    case Rule::bitwise: return " Floating types raise ValueError.";
    default: return "";
  }
}

const char* rule_name(Rule rule) {
  constexpr const char* names[] = {"same",      "inexact",   "real_inexact", "real",
                                   "rounding",  "magnitude", "component",    "comparison",
                                   "predicate", "logical",   "bitwise",      "choice"};
  return names[static_cast<int>(rule)];
}

constexpr const char* kStream =
    "*, stream: Stream | ThreadLocalStream | Device | DeviceType | None = None) -> array";

void bind_unary(nb::module_& m, const char* name, Op op) {
  const OpInfo& row = info(op);
  const std::string sig = "def "s + name + "(a: " + kOperand + ", /, " + kStream;
  const std::string doc =
      std::string(row.doc) + rule_doc(row.rule) + "\n\nThe result has the shape of `a`.";
  m.def(name,
        named(name, [op](Operand a, StreamOrDevice s) { return elementwise(op, to_array(a), s); }),
        nb::sig(sig.c_str()), nb::arg(), nb::kw_only(), "stream"_a = nb::none(), doc.c_str());
}

void bind_binary(nb::module_& m, const char* name, Op op) {
  const OpInfo& row = info(op);
  const std::string sig =
      "def "s + name + "(a: " + kOperand + ", b: " + kOperand + ", /, " + kStream;
  const std::string doc = std::string(row.doc) + rule_doc(row.rule) +
                          "\n\n`a` and `b` broadcast against each other; a Python scalar takes the "
                          "other's type. Shapes that do not broadcast raise ValueError.";
  m.def(name,
        named(name, [op](Operand a, Operand b, StreamOrDevice s) { return binary(op, a, b, s); }),
        nb::sig(sig.c_str()), nb::arg(), nb::arg(), nb::kw_only(), "stream"_a = nb::none(),
        doc.c_str());
}

constexpr std::pair<const char*, Op> kAliases[] = {
    {"asin", Op::arcsin},
    {"acos", Op::arccos},
    {"atan", Op::arctan},
    {"asinh", Op::arcsinh},
    {"acosh", Op::arccosh},
    {"atanh", Op::arctanh},
    {"conj", Op::conjugate},
    {"pow", Op::power},
    {"atan2", Op::arctan2},
    {"bitwise_left_shift", Op::left_shift},
    {"bitwise_right_shift", Op::right_shift},
};

// The operations that are methods of arrays as well.
constexpr Op kMethods[] = {Op::abs, Op::square, Op::sqrt,  Op::rsqrt, Op::reciprocal, Op::exp,
                           Op::log, Op::log2,   Op::log10, Op::log1p, Op::sin,        Op::cos};

void bind_method(ArrayClass& cls, const char* name, Op op) {
  def_op(
      cls, name, [op](const array& a, StreamOrDevice s) { return elementwise(op, a, s); },
      info(op).doc.data());
}

constexpr Row<array(const array&, StreamOrDevice)> kCompositions[] = {
    {"positive", &positive, "The elements unchanged."},
    {"degrees", &degrees, "Radians as degrees."},
    {"radians", &radians, "Degrees as radians."},
    {"isposinf", &isposinf, "True where an element is plus infinity."},
    {"isneginf", &isneginf, "True where an element is minus infinity."},
};

using Closeness = array(const array&, const array&, double, double, bool, StreamOrDevice);
constexpr Row<Closeness> kCloseness[] = {
    {"isclose", &isclose, "True where |a - b| <= atol + rtol * |b|."},
    {"allclose", &allclose, "Whether |a - b| <= atol + rtol * |b| everywhere, as a 0-d array."},
};

}  // namespace

array binary(Op op, Operand a, Operand b, StreamOrDevice s) {
  const array* x = as_array(a.value);
  const array* y = as_array(b.value);
  if (x && y) return elementwise(op, *x, *y, s);
  if (x) return elementwise(op, *x, to_array(b, x->dtype(), info(op).rule), s);
  const auto [l, r] = to_arrays(a, b, info(op).rule);
  return elementwise(op, l, r, s);
}

void bind_elementwise(nb::module_& m, ArrayClass& cls) {
  const auto bind = [&](const char* name, Op op) {
    if (info(op).arity == 1) bind_unary(m, name, op);
    if (info(op).arity == 2) bind_binary(m, name, op);
  };
  for (int i = 0; i < static_cast<int>(Op::cast); ++i) {
    const Op op = static_cast<Op>(i);
    bind(info(op).name.data(), op);
  }
  for (const auto& [name, op] : kAliases) bind(name, op);
  for (const Op op : kMethods) bind_method(cls, info(op).name.data(), op);
  bind_method(cls, "conj", Op::conjugate);

  m.def(
      "_operations",
      [] {
        nb::list rows;
        for (const OpInfo& row : elementwise_table()) {
          nb::dict d;
          d["name"] = nb::str(row.name.data());
          d["arity"] = row.arity;
          d["rule"] = rule_name(row.rule);
          rows.append(d);
        }
        return rows;
      },
      "The table of elementwise operations: a dict of name, arity and rule for each.");

  for (const auto& row : kCompositions)
    def_op(
        m, row.name, [f = row.function](Operand a, StreamOrDevice s) { return f(to_array(a), s); },
        row.doc, "a"_a);

  def_both(
      m, cls, "round",
      [](Operand a, int decimals, StreamOrDevice s) { return round(to_array(a), decimals, s); },
      "Rounds to a number of decimals, halves to even; a negative number rounds to tens and "
      "above.",
      "decimals"_a = 0);
  def_op(
      m, "nan_to_num",
      [](Operand a, double nan, std::optional<double> posinf, std::optional<double> neginf,
         StreamOrDevice s) { return nan_to_num(to_array(a), nan, posinf, neginf, s); },
      "Replaces nan, and infinities by the values given or the type's largest numbers.", "a"_a,
      "nan"_a = 0.0, "posinf"_a = nb::none(), "neginf"_a = nb::none());
  m.def("where",
        named("where",
              [](Operand condition, Operand x, Operand y, StreamOrDevice s) {
                const auto [a, b] = to_arrays(x, y);
                return where(to_array(condition), a, b, s);
              }),
        nb::sig(("def where(condition: "s + kOperand + ", x: " + kOperand + ", y: " + kOperand +
                 ", /, " + kStream)
                    .c_str()),
        nb::arg(), nb::arg(), nb::arg(), nb::kw_only(), "stream"_a = nb::none(),
        "The elements of `x` where the condition is true, else those of `y`; all three broadcast.");
  m.def(
      "where", [](const array& condition) { return nb::tuple(nb::cast(nonzero(condition))); },
      nb::sig("def where(condition: array, /) -> tuple[array, ...]"), nb::arg(),
      "The places of the true elements, as `nonzero` gives them.");
  def_op(
      m, "clip",
      [](Operand clipped, std::optional<Operand> a_min, std::optional<Operand> a_max,
         StreamOrDevice s) {
        const array a = to_array(clipped);
        Dtype t = a.dtype();  // the result's: a number is rounded once, to that
        for (const auto& bound : {a_min, a_max})
          if (bound && scalar_kind(bound->value.ptr()) != Scalar::integer)
            t = promote(t, to_array(*bound, t).dtype());
        std::optional<array> low, high;
        if (a_min) low = to_bound(*a_min, t, true);
        if (a_max) high = to_bound(*a_max, t, false);
        return clip(a, low, high, s);
      },
      "Moves the elements into [a_min, a_max]; None leaves a side open, but not both.", "a"_a,
      "a_min"_a.none(), "a_max"_a.none());
  def_op(
      m, "divmod",
      [](Operand a, Operand b, StreamOrDevice s) {
        const auto [x, y] = to_arrays(a, b);
        auto [quotient, rest] = divmod(x, y, s);
        return Arrays{std::move(quotient), std::move(rest)};
      },
      "The quotient rounded to minus infinity, and the remainder.", "a"_a, "b"_a);
  for (const auto& row : kCloseness)
    def_op(
        m, row.name,
        [f = row.function](Operand a, Operand b, double rtol, double atol, bool equal_nan,
                           StreamOrDevice s) {
          const auto [x, y] = to_arrays(a, b, Rule::inexact);
          return f(x, y, rtol, atol, equal_nan, s);
        },
        row.doc, "a"_a, "b"_a, "rtol"_a = 1e-5, "atol"_a = 1e-8, nb::kw_only(),
        "equal_nan"_a = false);
  def_op(
      m, "array_equal",
      [](Operand a, Operand b, bool equal_nan, StreamOrDevice s) {
        const auto [x, y] = to_arrays(a, b, Rule::comparison);
        return array_equal(x, y, equal_nan, s);
      },
      "Whether two arrays have one shape and equal elements, as a 0-d array.", "a"_a, "b"_a,
      "equal_nan"_a = false);
}

}  // namespace cermet::python
