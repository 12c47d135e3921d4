// Element types: Dtype, categories, promotion, limits, and the module's constants.
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/variant.h>

#include <array>
#include <cmath>
#include <limits>
#include <numbers>

#include "bindings.h"

namespace cermet::python {
namespace {

// Python's Dtype. There is one object for each type, so that `is` compares them too.
struct PyDtype {
  Dtype value;
};
std::array<PyObject*, kDtypeCount> dtype_objects;

// How the array API standard groups types (isdtype).
bool is_kind(Dtype t, std::string_view kind) {
  if (kind == "bool") return t == bool_;
  if (kind == "signed integer") return is_signed_integer(t);
  if (kind == "unsigned integer") return is_unsigned(t);
  if (kind == "integral") return is_integer(t);
  if (kind == "real floating") return is_floating(t);
  if (kind == "complex floating") return is_complex(t);
  if (kind == "numeric") return t != bool_;
  throw std::invalid_argument("isdtype: unknown kind '" + std::string(kind) +
                              "'; expected bool, signed integer, unsigned integer, integral, real "
                              "floating, complex floating or numeric");
}

bool matches(Dtype t, nb::handle kind) {
  if (const auto d = as_dtype(kind)) return t == *d;
  if (nb::isinstance<nb::str>(kind)) return is_kind(t, nb::cast<std::string>(kind));
  throw KindError("isdtype: expected a type, the name of a kind or a tuple of these, not " +
                  class_name(kind));
}

// Limits of a floating type (of the parts of a complex one).
struct FloatInfo {
  Dtype dtype;
  int bits;
  double max, eps, smallest_normal;
};

FloatInfo finfo(Dtype t) {
  if (!is_inexact(t))
    throw std::invalid_argument("finfo: expected a floating type, not " + std::string(name_of(t)));
  if (is_complex(t)) t = float32;
  const int bits = static_cast<int>(8 * size_of(t));
  // Bits of the fraction and the exponent's bound fix the limits of an IEEE-like type.
  const auto make = [&](int fraction, int bound) {
    return FloatInfo{t, bits, std::ldexp(2 - std::ldexp(1.0, -fraction), bound - 1),
                     std::ldexp(1.0, -fraction), std::ldexp(1.0, 2 - bound)};
  };
  switch (t) {
    case Dtype::float16: return make(10, 16);
    case Dtype::bfloat16: return make(7, 128);
    case Dtype::float64: return make(52, 1024);
    default: return make(23, 128);
  }
}

struct IntInfo {
  Dtype dtype;
  int bits;
  nb::object min, max;
};

IntInfo iinfo(Dtype t) {
  if (!is_integer(t))
    throw std::invalid_argument("iinfo: expected an integer type, not " + std::string(name_of(t)));
  return visit(t, [&]<class T>(Type<T>) {
    using Limits = std::numeric_limits<T>;
    constexpr int bits = 8 * sizeof(T);
    if constexpr (std::is_integral_v<T>)
      return IntInfo{t, bits, nb::int_(Limits::min()), nb::int_(Limits::max())};
    else
      return IntInfo{t, bits, {}, {}};
  });
}

Dtype dtype_of_either(const char* function, nb::handle h) {
  const array* a = as_array(h);
  const std::optional<Dtype> t = a ? a->dtype() : as_dtype(h);
  if (!t)
    throw KindError(std::string(function) + ": expected arrays and types, not " + class_name(h));
  return *t;
}

// True when promotion with `to` gives `to`: values survive, but for the precision of integers.
bool can_cast(nb::object from, Dtype to) {
  return promote(dtype_of_either("can_cast", from), to) == to;
}

Dtype result_type(const nb::args& inputs) {
  if (inputs.size() == 0) throw std::invalid_argument("result_type: expected an array or a dtype");
  std::optional<Dtype> result;
  for (nb::handle h : inputs) {
    const Dtype t = dtype_of_either("result_type", h);
    result = result ? promote(*result, t) : t;
  }
  return *result;
}

using Dtypes = nb::typed<nb::dict, nb::str, Dtype>;

// What the array API standard asks of `__array_namespace_info__()`.
struct NamespaceInfo {};

Dtypes dtypes_of_kind(const NamespaceInfo&, nb::object, const std::optional<std::string>& kind) {
  Dtypes out;
  for (int i = 0; i < kDtypeCount; ++i) {
    const Dtype t = static_cast<Dtype>(i);
    if (is_half(t)) continue;  // the standard has no names for them
    if (!kind || is_kind(t, *kind)) out[to_text(name_of(t).data())] = to_python(t);
  }
  return out;
}

}  // namespace

nb::handle to_python(Dtype dtype) { return dtype_objects[static_cast<std::size_t>(dtype)]; }

std::optional<Dtype> as_dtype(nb::handle h) {
  if (!nb::isinstance<PyDtype>(h) || !nb::inst_ready(h)) return {};
  return nb::inst_ptr<PyDtype>(h)->value;
}

void bind_dtype(nb::module_& m) {
  nb::class_<PyDtype>(m, "Dtype", "The type of an array's elements, such as `float32`.")
      .def_prop_ro(
          "size", [](const PyDtype& d) { return size_of(d.value); }, "Bytes an element.")
      .def("__repr__",
           [](nb::handle_t<PyDtype> self) {
             const PyDtype& d = *nb::inst_ptr<PyDtype>(self);
             return to_text("{}.{}").format(self.type().attr("__module__"),
                                            to_text(name_of(d.value).data()));
           })
      .def(
          "__eq__", [](const PyDtype& d, nb::object other) { return as_dtype(other) == d.value; },
          "other"_a.none())
      .def("__hash__", [](const PyDtype& d) { return static_cast<int>(d.value); })
      .def("__reduce__", [](const PyDtype& d) {
        return d.value == bool_ ? std::string("bool_") : std::string(name_of(d.value));
      });
  for (int i = 0; i < kDtypeCount; ++i) {
    const Dtype t = static_cast<Dtype>(i);
    nb::object object = nb::cast(PyDtype{t});
    m.attr(t == bool_ ? "bool_" : name_of(t).data()) = object;
    dtype_objects[static_cast<std::size_t>(i)] = object.release().ptr();
  }

  auto category = nb::enum_<DtypeCategory>(
      m, "DtypeCategory", "Groups of element types, for `issubdtype`: generic holds all.");
  for (int i = 0; i <= static_cast<int>(DtypeCategory::generic); ++i)
    category.value(name_of(static_cast<DtypeCategory>(i)).data(), static_cast<DtypeCategory>(i));
  category.export_values();

  nb::class_<FloatInfo>(m, "finfo", "Limits of a floating type.")
      .def(
          "__init__", [](FloatInfo* self, Dtype t) { new (self) FloatInfo(finfo(t)); }, nb::arg())
      .def_ro("bits", &FloatInfo::bits)
      .def_prop_ro("min", [](const FloatInfo& f) { return -f.max; })
      .def_ro("max", &FloatInfo::max)
      .def_ro("eps", &FloatInfo::eps, "The distance from 1 to the next number.")
      .def_ro("smallest_normal", &FloatInfo::smallest_normal)
      .def_ro("dtype", &FloatInfo::dtype)
      .def("__repr__", [](const FloatInfo& f) {
        return to_text("finfo(min={}, max={}, dtype={})")
            .format(-f.max, f.max, to_text(name_of(f.dtype).data()));
      });
  nb::class_<IntInfo>(m, "iinfo", "Limits of an integer type.")
      .def(
          "__init__", [](IntInfo* self, Dtype t) { new (self) IntInfo(iinfo(t)); }, nb::arg())
      .def_prop_ro("min", [](const IntInfo& i) { return nb::int_(i.min); })
      .def_prop_ro("max", [](const IntInfo& i) { return nb::int_(i.max); })
      .def_ro("bits", &IntInfo::bits)
      .def_ro("dtype", &IntInfo::dtype)
      .def("__repr__", [](const IntInfo& i) {
        return to_text("iinfo(min={}, max={}, dtype={})")
            .format(i.min, i.max, to_text(name_of(i.dtype).data()));
      });

  using Either = std::variant<Dtype, DtypeCategory>;
  // By its class, as nanobind takes a category's number for it.
  const auto either = [](nb::handle h) -> Either {
    if (const auto t = as_dtype(h)) return *t;
    if (nb::isinstance<DtypeCategory>(h)) return nb::cast<DtypeCategory>(h);
    throw KindError("issubdtype: expected a type or a category of types, not " + class_name(h));
  };
  m.def(
      "issubdtype",
      [either](nb::object arg1, nb::object arg2) {
        const Either t = either(arg1), of = either(arg2);
        if (const Dtype* d = std::get_if<Dtype>(&t))
          return std::visit([&](auto o) { return issubdtype(*d, o); }, of);
        const DtypeCategory* c = std::get_if<DtypeCategory>(&of);
        return c && issubdtype(std::get<DtypeCategory>(t), *c);
      },
      nb::sig("def issubdtype(arg1: Dtype | DtypeCategory, arg2: Dtype | DtypeCategory) -> bool"),
      "arg1"_a.none(), "arg2"_a.none(),
      "True when the first type or category lies within the second.");
  m.def(
      "isdtype",
      [](Dtype t, nb::object kind) {
        if (!PyTuple_Check(kind.ptr())) return matches(t, kind);
        for (nb::handle k : nb::borrow<nb::tuple>(kind))
          if (matches(t, k)) return true;
        return false;
      },
      nb::sig("def isdtype(dtype: Dtype, kind: Dtype | str | tuple[Dtype | str, ...]) -> bool"),
      "dtype"_a, "kind"_a.none(),
      "True when a type is of a kind of the array API standard (\"integral\", \"real floating\", "
      "...), is the type given, or either of a tuple of these.");
  m.def("can_cast", &can_cast, nb::sig("def can_cast(from_: array | Dtype, to: Dtype) -> bool"),
        "from_"_a.none(), "to"_a, "True when promotion turns the first type into the second.");
  m.def("result_type", &result_type,
        nb::sig("def result_type(*arrays_and_dtypes: array | Dtype) -> Dtype"),
        "The type that all arrays and dtypes promote to.");

  nb::class_<NamespaceInfo>(m, "_ArrayNamespaceInfo")
      .def("capabilities",
           [](const NamespaceInfo&) {
             nb::dict out;
             out["boolean indexing"] = true;
             out["data-dependent shapes"] = true;
             out["max dimensions"] = nb::none();
             return out;
           })
      .def("default_device", [](const NamespaceInfo&) { return default_device(); })
      .def(
          "default_dtypes",
          [](const NamespaceInfo&, nb::object) {
            Dtypes out;
            out["real floating"] = float32;
            out["complex floating"] = complex64;
            out["integral"] = int32;
            out["indexing"] = int32;
            return out;
          },
          nb::kw_only(), "device"_a = nb::none())
      .def("devices",
           [](const NamespaceInfo&) {
             nb::list out;
             for (const DeviceType t : {DeviceType::cpu, DeviceType::gpu})
               for (int i = 0; i < device_count(t); ++i)
                 out.append(Device{t, static_cast<std::int16_t>(i)});
             return nb::tuple(out);
           })
      .def("dtypes", &dtypes_of_kind, nb::kw_only(), "device"_a = nb::none(),
           "kind"_a = nb::none());
  m.def(
      "__array_namespace_info__", [] { return NamespaceInfo(); },
      nb::sig("def __array_namespace_info__() -> typing.Any"),
      "Facts of this module for the array API standard.");

  m.attr("e") = std::numbers::e;
  m.attr("pi") = std::numbers::pi;
  m.attr("euler_gamma") = std::numbers::egamma;
  m.attr("inf") = std::numeric_limits<double>::infinity();
  m.attr("nan") = std::numeric_limits<double>::quiet_NaN();
  m.attr("newaxis") = nb::none();
}

}  // namespace cermet::python
