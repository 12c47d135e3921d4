// The parts of the module: one function for each file, called in this order by module.cpp.
#pragma once

#include <algorithm>
#include <tuple>

#include "cermet/follow.h"
#include "convert.h"

namespace cermet::python {

using ArrayClass = nb::class_<array>;

void bind_dtype(nb::module_& m);
void bind_device(nb::module_& m);
void bind_memory(nb::module_& m);
void bind_metal(nb::module_& m);
ArrayClass bind_array(nb::module_& m);
void bind_indexing(nb::module_& m, ArrayClass& cls);
void bind_elementwise(nb::module_& m, ArrayClass& cls);
void bind_creation(nb::module_& m);
void bind_shape(nb::module_& m, ArrayClass& cls);
void bind_reductions(nb::module_& m, ArrayClass& cls);
void bind_products(nb::module_& m);
void bind_convolution(nb::module_& m);
void bind_linalg(nb::module_& m);
void bind_fft(nb::module_& m);
void bind_random(nb::module_& m);
void bind_fast(nb::module_& m);
void bind_transforms(nb::module_& m);
void bind_io(nb::module_& m);
void bind_export(nb::module_& m);
void bind_distributed(nb::module_& m);
void bind_machine(nb::module_& m);
void bind_simulator(nb::module_& m);  // not on Apple's systems
void bind_lint(nb::module_& m);       // not on Apple's systems

// An elementwise operation on two operands. Arrays among them are not copied.
array binary(Op op, Operand a, Operand b, StreamOrDevice s = {});

// A row of a table of functions that are bound alike.
template <class F>
struct Row {
  const char* name;
  F* function;
  const char* doc;
};

// The arrays that an argument of an operation is or holds.
template <class T>
auto arrays_of(T& argument) {
  using Plain = std::remove_const_t<T>;
  using Span = std::span<std::conditional_t<std::is_const_v<T>, const array, array>>;
  if constexpr (std::is_same_v<Plain, array>)
    return Span(&argument, 1);
  else if constexpr (std::is_same_v<Plain, std::optional<array>>)
    return argument ? Span(&*argument, 1) : Span();
  else if constexpr (std::is_same_v<Plain, Arrays>)
    return Span(argument);
  else
    return Span();
}

// Whether a value speaks of Python's objects, which need Python's lock.
template <class T>
struct IsPython
    : std::bool_constant<std::is_base_of_v<nb::handle, T> || std::is_same_v<T, Operand>> {};
template <class T>
struct IsPython<std::optional<T>> : IsPython<T> {};

// An operation that a shapeless trace can do again for other extents.
template <class F, class... A>
auto repeated(const char* name, F f, array (*)(A...)) {
  return [name, f](A... args) {
    if ((!is_followed(arrays_of(args)) && ...)) return f(args...);
    Arrays inputs;
    const auto add = [&](std::span<const array> more) {
      inputs.insert(inputs.end(), more.begin(), more.end());
    };
    (add(arrays_of(args)), ...);
    return follow(name, inputs,
                  [f, own = std::tuple<std::decay_t<A>...>(args...)](std::span<const array> in) {
                    auto now = own;
                    const auto take = [&](std::span<array> some) {
                      std::copy_n(in.begin(), some.size(), some.begin());
                      in = in.subspan(some.size());
                    };
                    std::apply([&](auto&... a) { (take(arrays_of(a)), ...); }, now);
                    return std::apply(f, now);
                  });
  };
}
// The signature of a function, as that of a pointer to one.
template <class R, class... A>
R (*signature_of(R (*f)(A...)))(A...) {
  return f;
}
template <class C, class R, class... A>
R (*signature_of(R (C::*)(A...) const))(A...) {
  return nullptr;
}
template <class F>
auto signature_of(F) {
  return signature_of(&F::operator());
}
// An operation on operands, which names itself where one of them is no array.
template <class F, class R, class... A>
auto named(const char* name, F f, R (*)(A...)) {
  return [name, f](A... args) -> R {
    try {
      return f(args...);
    } catch (const KindError& error) {
      throw KindError(std::string(name) + ": " + error.what());
    }
  };
}
template <class F>
auto named(const char* name, F f) {
  return named(name, f, decltype(signature_of(f))());
}
template <class R, class... A>
constexpr bool can_repeat(R (*)(A...)) {
  return std::is_same_v<R, array> && (!IsPython<std::decay_t<A>>::value && ...);
}
template <class F>
auto repeatable(const char* name, F f) {
  using Signature = decltype(signature_of(f));
  if constexpr (can_repeat(Signature()))
    return repeated(name, f, Signature());
  else
    return named(name, f);
}

// Binds an operation to a module or class. Its stream comes last and by keyword only.
template <class Scope, class F, class... Args>
void def_op(Scope& scope, const char* name, F f, const char* doc, const Args&... args) {
  const auto op = repeatable(name, f);
  if constexpr ((std::is_same_v<Args, nb::kw_only> || ...))
    scope.def(name, op, args..., "stream"_a = nb::none(), doc);
  else
    scope.def(name, op, args..., nb::kw_only(), "stream"_a = nb::none(), doc);
}

// Binds f(a, ...) as a function of the module and as a method of arrays.
template <class F, class... Args>
void def_both(nb::module_& m, ArrayClass& cls, const char* name, F f, const char* doc,
              const Args&... args) {
  def_op(m, name, f, doc, "a"_a, args...);
  def_op(cls, name, f, doc, args...);
}

// A signature for stubs, "reshape(self, *shape: int", with the stream as its last argument.
inline std::string signature(const std::string& head, const char* result = "array") {
  return "def " + head +
         ", stream: Stream | ThreadLocalStream | Device | DeviceType | None = None" + ") -> " +
         result;
}

// An axis that may be None, of a function whose operation flattens the array then.
inline array flat_unless(const array& a, std::optional<int>& axis, int otherwise = 0) {
  if (axis) return a;
  axis = otherwise;
  return flatten(a, 0, -1);
}

}  // namespace cermet::python
