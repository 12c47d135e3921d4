// The functions of ops/ by operation and type, as the recorder has them.
#include "cpu/machine/record.h"

#include "cpu/machine/recorder.h"

namespace cermet::cpu::machine {
namespace recorded {
namespace {

// The recorder's type for elements in tiles, as F::template operator()<T>().
template <class F>
std::int32_t with_type(Dtype dtype, F f) {
  switch (dtype) {
    case bool_: return f(Type<b32>{});
    case uint8: return f(Type<Integer<8, false>>{});
    case uint16: return f(Type<Integer<16, false>>{});
    case uint32: return f(Type<u32>{});
    case int8: return f(Type<Integer<8, true>>{});
    case int16: return f(Type<Integer<16, true>>{});
    case int32: return f(Type<i32>{});
    case float16:
    case bfloat16:
    case float32: return f(Type<f32>{});
    default: return kNoValue;
  }
}

// Whether an operation has a function of T. That of some is a template which takes any type.
template <class T, Op op, Rule rule>
constexpr bool takes() {
  constexpr bool inexact = rule == Rule::inexact || rule == Rule::real_inexact;
  if (std::is_same_v<T, f32>) return rule != Rule::logical && rule != Rule::bitwise;
  if (std::is_same_v<T, b32>)
    return rule == Rule::logical || op == Op::bitwise_and || op == Op::bitwise_or ||
           op == Op::bitwise_xor || op == Op::bitwise_invert || op == Op::equal ||
           op == Op::not_equal || op == Op::add || op == Op::subtract || op == Op::multiply;
  return !inexact && rule != Rule::logical && rule != Rule::rounding;
}

template <class T>
T given(std::int32_t id) {
  return T(Known{id});
}

template <Op op, Rule rule, int arity, class F>
std::int32_t call(F f, Dtype dtype, const std::int32_t* in) {
  return with_type(dtype, [&]<class T>(Type<T>) {
    if constexpr (takes<T, op, rule>() && requires(T x) { f(x, x); }) {
      const T x = given<T>(in[0]);
      return f(x, arity > 1 ? given<T>(in[1]) : x).id;
    }
    return kNoValue;
  });
}

template <class From, class To>
To converted(From x) {
  if constexpr (std::is_same_v<From, To>)
    return x;
  else if constexpr (std::is_same_v<To, b32>)
    return x != From(0);
  else if constexpr (std::is_same_v<From, f32>)
    return truncated<To>(x);
  else
    return To(x);
}

}  // namespace
}  // namespace recorded

std::int32_t record(Trace& trace, Op op, Dtype compute, const std::int32_t* in) {
  using namespace recorded;
  t_trace = &trace;
  switch (op) {
#define CALL_1(name) [](auto x, auto) -> decltype(name(x)) { return name(x); }
#define CALL_2(name) [](auto x, auto y) -> decltype(name(x, y)) { return name(x, y); }
#define CALL_3(name) 0
#define CERMET_ELEMENTWISE(name, arity, rule, doc)                               \
  case Op::name:                                                                 \
    if constexpr (arity < 3)                                                     \
      return call<Op::name, Rule::rule, arity>(CALL_##arity(name), compute, in); \
    break;
#include "cermet/elementwise.def"
#undef CERMET_ELEMENTWISE
#undef CALL_1
#undef CALL_2
#undef CALL_3
    default: break;
  }
  return with_type(compute, [&]<class T>(Type<T>) {  // select
    return select(given<b32>(in[0]), given<T>(in[1]), given<T>(in[2])).id;
  });
}

std::int32_t record_cast(Trace& trace, Dtype from, Dtype to, std::int32_t in) {
  using namespace recorded;
  t_trace = &trace;
  return with_type(from, [&]<class From>(Type<From>) {
    return with_type(to,
                     [&]<class To>(Type<To>) { return converted<From, To>(given<From>(in)).id; });
  });
}

std::int32_t record_widening(Trace& trace, Dtype half, std::int32_t in) {
  using namespace recorded;
  t_trace = &trace;
  const u32 word = given<u32>(in);
  return (half == float16 ? widen_float16(word) : widen_bfloat16(word)).id;
}

bool is_recorded(Dtype dtype) {
  return recorded::with_type(dtype, [](auto) { return 0; }) != kNoValue;
}

}  // namespace cermet::cpu::machine
