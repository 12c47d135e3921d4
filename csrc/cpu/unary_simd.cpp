// The loops of the unary operations.
#include "cpu/loop.h"

namespace cermet::cpu::CERMET_ISA {
namespace {

// `apply` is there for a function of exactly T: a float's is not taken for a double.
template <Op op>
struct Function {};
#define CERMET_OVERLOAD(name) static_cast<decltype(name(x)) (*)(T)>(name)(x)
#define CERMET_ELEMENTWISE(name, arity, rule, doc)              \
  template <>                                                   \
  struct Function<Op::name> {                                   \
    template <class T>                                          \
    static auto apply(T x) -> decltype(CERMET_OVERLOAD(name)) { \
      return name(x);                                           \
    }                                                           \
    template <class T>                                          \
    static auto usual(T x) -> decltype(name##_usual(x)) {       \
      return name##_usual(x);                                   \
    }                                                           \
    template <class T>                                          \
    static auto rare(T x) -> decltype(name##_rare(x)) {         \
      return name##_rare(x);                                    \
    }                                                           \
  };
#include "cermet/elementwise.def"
#undef CERMET_ELEMENTWISE
#undef CERMET_OVERLOAD

template <Op op, Rule rule>
void fill(Loops& table) {
  for_types<rule>([&]<class T>(Type<T>) {
    if constexpr (requires(T x) { Function<op>::apply(x); })
      table.op[static_cast<int>(op)][static_cast<int>(dtype_of<T>)] = unary_loop<Function<op>, T>;
  });
}

}  // namespace

void fill_unary(Loops& table) {
#define CERMET_ELEMENTWISE(name, arity, rule, doc) \
  if constexpr (arity == 1) fill<Op::name, Rule::rule>(table);
#include "cermet/elementwise.def"
#undef CERMET_ELEMENTWISE
}

}  // namespace cermet::cpu::CERMET_ISA
