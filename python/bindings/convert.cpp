// Python values to arrays and back. Scalars and nested sequences are read with the C API; arrays of
// other libraries come and go through nanobind's ndarray, which speaks DLPack and buffers.
#include "convert.h"

#include <nanobind/ndarray.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "lists.h"
#include "scalars.h"

#include "interpreter.h"
#include "tree.h"

namespace cermet::python {
namespace {

// What a cast makes of a number: the nearest integer towards zero that there is, and 0 of a nan.
template <class T>
T truncated(double v) {
  constexpr T low = std::numeric_limits<T>::lowest(), high = std::numeric_limits<T>::max();
  if (v >= static_cast<double>(high)) return high;
  return v > static_cast<double>(low) ? static_cast<T>(v) : std::isnan(v) ? T{0} : low;
}

template <class T>
T element(PyObject* p) {
  const Scalar kind = scalar_kind(p);
  if constexpr (std::is_same_v<T, bool>) {
    return PyObject_IsTrue(p);
  } else if constexpr (std::is_same_v<T, complex64_t>) {
    const auto c = to_complex(p);
    return {c.real(), c.imag()};
  } else if constexpr (std::is_integral_v<T>) {
    if (kind <= Scalar::integer) return static_cast<T>(to_int64(p, dtype_of<T>));
    const double v = kind == Scalar::floating ? to_double(p) : to_complex(p).real();
    return truncated<T>(v);
  } else {
    const double v = kind == Scalar::complex ? to_complex(p).real() : to_double(p);
    if constexpr (std::is_same_v<T, float16_t>)
      return to_float16(static_cast<float>(v));
    else if constexpr (std::is_same_v<T, bfloat16_t>)
      return to_bfloat16(static_cast<float>(v));
    else
      return static_cast<T>(v);
  }
}

// Ascending: bool, integers, floats, complex.
int category(Dtype t) { return (t != bool_) + is_inexact(t) + is_complex(t); }

bool is_sequence(nb::handle h) { return PyList_Check(h.ptr()) || PyTuple_Check(h.ptr()); }

// Nested lists and tuples: their common shape, their leaves and the strongest kind among these.
class Nested {
 public:
  explicit Nested(nb::handle root) {
    std::size_t room = get_memory_limit() / sizeof(PyObject*);  // sequences may share others
    for (nb::handle h = root; is_sequence(h); h = PySequence_Fast_GET_ITEM(h.ptr(), 0)) {
      shape_.push_back(Py_SIZE(h.ptr()));
      if (Py_SIZE(h.ptr()) == 0) break;
      room /= static_cast<std::size_t>(Py_SIZE(h.ptr()));
      if (room == 0)
        throw OutOfMemory("array: out of memory: the sequences hold more elements than arrays may");
      if (shape_.size() > kMostLevels)
        throw std::invalid_argument("array: expected at most " + std::to_string(kMostLevels) +
                                    " levels of sequences, got more");
    }
    collect(root, 0);
  }

  // Arrays among the leaves: the sequence is to be stacked instead.
  bool has_arrays() const { return has_arrays_; }

  array build(std::optional<Dtype> dtype) const {
    const Dtype t = dtype.value_or(inferred());
    return visit(t, [&]<class T>(Type<T>) {
      Ref<Buffer> buffer = allocate(leaves_.size() * sizeof(T));
      T* out = static_cast<T*>(buffer->data());
      for (PyObject* leaf : leaves_) *out++ = element<T>(leaf);
      return array(std::move(buffer), shape_, t);
    });
  }

 private:
  static constexpr std::size_t kMostLevels = 1000;  // collect calls itself so often

  Dtype inferred() const {
    switch (kind_) {
      case Scalar::boolean: return bool_;
      case Scalar::integer: return wide_ ? int64 : int32;
      case Scalar::complex: return complex64;
      default: return float32;
    }
  }

  void collect(nb::handle h, std::size_t level) {
    if (has_arrays_) return;
    if (!is_sequence(h)) return leaf(h, level);
    const Py_ssize_t n = Py_SIZE(h.ptr());
    if (level >= shape_.size() || n != shape_[level]) ragged(level, n);
    for (Py_ssize_t i = 0; i < n; ++i) collect(PySequence_Fast_GET_ITEM(h.ptr(), i), level + 1);
  }

  void leaf(nb::handle h, std::size_t level) {
    Scalar kind = scalar_kind(h.ptr());
    if (kind == Scalar::none && is_numpy_scalar(h)) {
      owned_.push_back(from_numpy_scalar(h));
      h = owned_.back();
      kind = scalar_kind(h.ptr());
    }
    if (kind == Scalar::none) {
      if (!is_operand(h)) throw KindError("array: cannot make an element of " + class_name(h));
      has_arrays_ = true;
      return;
    }
    if (level != shape_.size()) ragged(level, -1);
    kind_ = std::max(kind_, kind);
    if (kind == Scalar::integer && !wide_) wide_ = !holds(int32, h);
    leaves_.push_back(h.ptr());
  }

  [[noreturn]] void ragged(std::size_t level, Py_ssize_t n) const {
    const std::string came = n < 0 ? "a scalar" : "a sequence of " + std::to_string(n);
    const std::string wanted = level < shape_.size()
                                   ? "a sequence of " + std::to_string(shape_[level])
                                   : std::string("a scalar");
    throw std::invalid_argument("array: ragged sequence, " + came + " stands at level " +
                                std::to_string(level) + " where " + wanted + " was expected");
  }

  Shape shape_;
  std::vector<PyObject*> leaves_;
  std::vector<nb::object> owned_;
  Scalar kind_ = Scalar::none;
  bool wide_ = false, has_arrays_ = false;
};

array stack_sequence(nb::handle sequence) {
  Arrays parts;
  for (nb::handle item : sequence) parts.push_back(make_array(item));
  return stack(parts);
}

// DLPack's names for the element types, in the order of Dtype.
nb::dlpack::dtype to_dlpack(Dtype dtype) {
  using Code = nb::dlpack::dtype_code;
  Code code = Code::Float;
  if (dtype == bool_) code = Code::Bool;
  if (is_unsigned(dtype)) code = Code::UInt;
  if (is_signed_integer(dtype)) code = Code::Int;
  if (dtype == bfloat16) code = Code::Bfloat;
  if (dtype == complex64) code = Code::Complex;
  return {static_cast<std::uint8_t>(code), static_cast<std::uint8_t>(8 * size_of(dtype)), 1};
}

std::optional<Dtype> from_dlpack(nb::dlpack::dtype t) {
  for (int i = 0; i < kDtypeCount; ++i)
    if (to_dlpack(static_cast<Dtype>(i)) == t) return static_cast<Dtype>(i);
  return {};
}

using Foreign = nb::ndarray<nb::ro, nb::device::cpu>;

// The foreign array's own memory as an array of `dtype`, kept alive by it.
array borrow_memory(const Foreign& foreign, Dtype dtype, Shape shape, Strides strides) {
  std::int64_t low = 0, high = 0;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const std::int64_t reach = (shape[i] - 1) * strides[i];
    (reach < 0 ? low : high) += reach;
  }
  const auto item = static_cast<std::int64_t>(size_of(dtype));
  const auto* first = static_cast<const std::byte*>(foreign.data_handle()) + foreign.byte_offset();
  Ref<Buffer> buffer = borrow(first + low * item, static_cast<std::size_t>((high - low + 1) * item),
                              [owner = share(foreign)] {});
  return array(std::move(buffer), std::move(shape), dtype, std::move(strides), -low);
}

// An evaluated copy in memory of Cermet's own.
array owned_copy(const array& a) {
  if (!a.is_contiguous()) {
    array copy = contiguous(a);
    eval({copy});
    return copy;
  }
  return visit(a.dtype(), [&]<class T>(Type<T>) { return array(a.data<T>(), a.shape()); });
}

array converted(const array& a, Dtype dtype) {
  array out = astype(a, dtype);
  eval({out});
  return out;
}

[[noreturn]] void refuse_sharing(std::string_view why) {
  throw std::invalid_argument("array: a copy is needed to import " + std::string(why));
}

// A copy of elements that do not stand at multiples of their size: their bytes in order.
array realigned(const Foreign& foreign, Dtype dtype, Shape shape, Strides strides) {
  const Shape to = shape;
  const auto item = static_cast<std::int64_t>(size_of(dtype));
  for (auto& s : strides) s *= item;
  shape.push_back(item);
  strides.push_back(1);
  const array bytes = borrow_memory(foreign, uint8, std::move(shape), std::move(strides));
  return converted(reshape(view(contiguous(bytes), dtype), to), dtype);
}

array import_foreign(const Foreign& foreign, std::optional<Dtype> dtype, bool copy) {
  Shape shape;
  Strides strides;
  for (std::size_t i = 0; i < foreign.ndim(); ++i) {
    shape.push_back(static_cast<std::int64_t>(foreign.shape(i)));
    strides.push_back(foreign.stride(i));
  }
  const nb::dlpack::dtype complex128{static_cast<std::uint8_t>(nb::dlpack::dtype_code::Complex),
                                     128, 1};
  const bool wide = foreign.dtype() == complex128;
  const std::optional<Dtype> native = wide ? float64 : from_dlpack(foreign.dtype());
  if (!native)
    throw nb::type_error(("array: no type for elements of " +
                          std::to_string(static_cast<int>(foreign.dtype().bits)) + " bits, code " +
                          std::to_string(static_cast<int>(foreign.dtype().code)))
                             .c_str());
  const Dtype wanted = dtype.value_or(wide ? complex64 : *native == float64 ? float32 : *native);
  if (element_count(shape) == 0) return zeros(shape, wanted);
  const auto address =
      reinterpret_cast<std::uintptr_t>(foreign.data_handle()) + foreign.byte_offset();
  const bool aligned = address % size_of(*native) == 0;
  if (!aligned && !copy) refuse_sharing("memory that is not aligned to its elements");
  const auto elements = aligned ? &borrow_memory : &realigned;
  if (wide) {  // pairs of doubles, narrowed and read as complex64
    if (!copy) refuse_sharing("complex128");
    Shape pairs = shape;
    pairs.push_back(2);
    for (auto& s : strides) s *= 2;
    strides.push_back(1);
    const array parts = elements(foreign, float64, std::move(pairs), std::move(strides));
    return converted(reshape(view(astype(parts, float32), complex64), shape), wanted);
  }
  if (*native == bool_) {  // a byte but 0 and 1 is true, too, which only a copy can show
    const array bytes = borrow_memory(foreign, uint8, shape, strides);
    if (copy || max(bytes).item<std::uint32_t>() > 1) return converted(view(bytes, bool_), wanted);
  }
  const array shared = elements(foreign, *native, std::move(shape), std::move(strides));
  if (wanted == *native) return copy ? owned_copy(shared) : shared;
  if (!copy) refuse_sharing(std::string(name_of(*native)) + " as " + std::string(name_of(wanted)));
  return converted(shared, wanted);
}

// What lends out memory ends at as many axes as Python's buffers have.
void check_lent_axes(const array& a) {
  if (a.ndim() > PyBUF_MAX_NDIM)
    throw std::invalid_argument("array: other libraries read at most " +
                                std::to_string(PyBUF_MAX_NDIM) + " axes, this has " +
                                std::to_string(a.ndim()));
}

// The evaluated array with an element of memory for each of its own: who borrows a new array takes
// it for that, though a broadcast has less. `held` becomes it, so that it sees what is written.
array lendable(array& held) {
  check_lent_axes(held);
  array a = evaluated(held);
  for (std::size_t i = 0; i < a.shape().size(); ++i)
    if (a.shape()[i] > 1 && a.strides()[i] == 0) return held = owned_copy(a);
  return a;
}

bool is_writable(const array& a) {
  const Ref<Buffer>& buffer = a.node()->buffer;
  return !buffer || !buffer->borrowed();
}

// The array's memory as an object of nanobind's `Framework`; a new array object keeps it alive.
template <class... Framework>
nb::object exported(const array& a, Dtype dtype) {
  std::vector<std::size_t> shape(a.shape().begin(), a.shape().end());
  return nb::cast(nb::ndarray<Framework...>(const_cast<void*>(a.raw_data()), shape.size(),
                                            shape.data(), nb::cast(a), a.strides().data(),
                                            to_dlpack(dtype)));
}

nb::object as_numpy(array& held, Dtype dtype) {
  const array a = lendable(held);
  return is_writable(a) ? exported<nb::numpy>(a, dtype) : exported<nb::numpy, nb::ro>(a, dtype);
}

// Formats of the buffer protocol, in the order of Dtype; bfloat16 has none.
constexpr const char* kFormats[kDtypeCount] = {"?", "B", "H", "I",     "Q", "b", "h",
                                               "i", "q", "e", nullptr, "f", "d", "Zf"};

// The array that C code asked for and what stopped its evaluation, until Python runs on.
const Node* stopped = nullptr;
PyObject* stopped_by = nullptr;

// What a Py_buffer points to.
struct BufferView {
  array value;
  std::vector<Py_ssize_t> shape, strides;
};

}  // namespace

Stream ThreadLocalStream::resolve() const {
  thread_local std::map<int, Stream> streams;
  const auto found = streams.find(index);
  return found != streams.end() ? found->second
                                : streams.emplace(index, new_stream(device)).first->second;
}

bool is_foreign_array(nb::handle h) { return nb::ndarray_check(h); }

bool is_operand(nb::handle h) {
  if (is_array(h) || scalar_kind(h.ptr()) != Scalar::none) return true;
  if (h.is_none() || is_sequence(h) || PyUnicode_Check(h.ptr())) return false;
  return nb::isinstance<ArrayLike>(h) || is_numpy_scalar(h) || nb::ndarray_check(h);
}

array to_array(Operand operand, std::optional<Dtype> like, Rule rule) {
  const nb::handle h = operand.value;
  if (const array* a = as_array(h)) return *a;
  if (!is_operand(h))
    throw KindError(
        "expected an array, a number or an object with the buffer protocol or "
        "DLPack, not " +
        class_name(h));
  if (const Scalar kind = scalar_kind(h.ptr()); kind != Scalar::none)
    return weak_scalar(h, kind, like, rule);
  if (is_numpy_scalar(h)) {
    const nb::object item = from_numpy_scalar(h);
    return weak_scalar(item, scalar_kind(item.ptr()), like, rule);
  }
  const array a = make_array(h);
  if (!like || !is_foreign_array(h) || category(a.dtype()) > category(*like)) return a;
  return a.dtype() == *like ? a : make_array(h, like);
}

std::optional<array> to_optional_array(std::optional<Operand> operand, Dtype like) {
  return operand ? std::optional(to_array(*operand, like)) : std::nullopt;
}

array to_bound(Operand operand, Dtype like, bool lower) {
  const nb::handle h = operand.value;
  if (scalar_kind(h.ptr()) != Scalar::integer || is_inexact(like) || holds(like, h) ||
      is_negative(h) != lower)
    return to_array(operand, like);
  return visit(like, [&]<class T>(Type<T>) {
    using Limits = std::numeric_limits<std::conditional_t<std::is_integral_v<T>, T, bool>>;
    return array(static_cast<std::int64_t>(lower ? Limits::lowest() : Limits::max()), like);
  });
}

std::pair<array, array> to_arrays(Operand a, Operand b, Rule rule) {
  const array* x = as_array(a.value);
  const array* y = as_array(b.value);
  if (x) return {*x, y ? *y : to_array(b, x->dtype(), rule)};
  if (y) return {to_array(a, y->dtype(), rule), *y};
  return {to_array(a), to_array(b)};
}

array make_array(nb::handle value, std::optional<Dtype> dtype) {
  if (const array* a = as_array(value)) return dtype ? astype(*a, *dtype) : *a;
  if (const Scalar kind = scalar_kind(value.ptr()); kind != Scalar::none)
    return strong_scalar(value, kind, dtype);
  if (is_sequence(value)) {
    const Nested nested(value);
    if (!nested.has_arrays()) return nested.build(dtype);
    const array stacked = stack_sequence(value);
    return dtype ? astype(stacked, *dtype) : stacked;
  }
  return import_array(value, dtype, true);
}

array import_array(nb::handle value, std::optional<Dtype> dtype, bool copy) {
  if (nb::isinstance<ArrayLike>(value)) value = held<ArrayLike>(value)->value;
  if (const array* a = as_array(value)) return dtype ? astype(*a, *dtype) : *a;
  if (is_numpy_scalar(value)) from_numpy_scalar(value);  // which refuses dates and the like
  nb::object buffer;  // exporters leave out strides (ctypes does), a memoryview has them
  if (PyObject_CheckBuffer(value.ptr()) && !nb::hasattr(value, "__dlpack__")) {
    buffer = nb::steal(PyMemoryView_FromObject(value.ptr()));
    if (!buffer) PyErr_Clear();
  }
  if (Foreign foreign; nb::try_cast(buffer ? nb::handle(buffer) : value, foreign))
    return import_foreign(foreign, dtype, copy);
  // NumPy's bfloat16 is an extension type without a format: its bits are read instead.
  if (nb::hasattr(value, "dtype") &&
      nb::cast<std::string>(nb::str(nb::object(value.attr("dtype")))) == "bfloat16" &&
      nb::hasattr(value, "view")) {
    const array bits = import_array(value.attr("view")("uint16"), {}, copy);
    const array a = view(bits, bfloat16);
    eval({a});
    return dtype && *dtype != bfloat16 ? astype(a, *dtype) : a;
  }
  // Numbers of the other byte order have no format here either.
  if (nb::hasattr(value, "dtype") && nb::hasattr(value, "astype") &&
      !nb::cast<bool>(nb::getattr(value.attr("dtype"), "isnative", nb::bool_(true)))) {
    if (!copy) refuse_sharing("numbers of the other byte order");
    return import_array(value.attr("astype")(value.attr("dtype").attr("newbyteorder")("=")), dtype,
                        true);
  }
  throw KindError("array: cannot make an array of " + class_name(value) +
                  "; expected a number, a nested list or tuple of numbers, or an object with "
                  "the buffer protocol or DLPack");
}

array evaluated(array a) {
  if (!a.is_available()) eval({a});
  return a;
}

nb::object to_scalar(const array& lazy) {
  const array a = lazy;
  if (a.size() != 1)
    throw std::invalid_argument(
        "item: only an array with one element becomes a scalar, this has shape " +
        to_string(a.shape()));
  eval({a});
  return visit(a.dtype(), [&]<class T>(Type<T>) { return scalar_object(a.data<T>()); });
}

nb::object to_list(const array& lazy) {
  const array a = evaluated(lazy);
  return visit(a.dtype(), [&]<class T>(Type<T>) { return Lists<T>(a).made_of(a.data<T>()); });
}

void remember_interrupt(const array& a) {
  if (!PyErr_Occurred()) PyErr_SetNone(PyExc_KeyboardInterrupt);
  nb::python_error error;
  stopped = a.node();
  Py_XSETREF(stopped_by, Py_NewRef(error.value().ptr()));
  const auto forget = [](void*) {
    Py_CLEAR(stopped_by);
    return 0;
  };
  if (Py_AddPendingCall(forget, nullptr)) forget(nullptr);
  error.restore();
}

bool interrupted_again(const array& a) {
  if (!stopped_by || stopped != a.node()) return false;
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(stopped_by)), stopped_by);
  return true;
}

nb::object to_numpy(array& a, bool copy) {
  if (a.dtype() == bfloat16) {
    const nb::object ml_dtypes = nb::steal(PyImport_ImportModule("ml_dtypes"));
    if (!ml_dtypes) {
      PyErr_Clear();
      array wide = astype(a, float32);
      return to_numpy(wide, false);
    }
    nb::object out = as_numpy(a, uint16).attr("view")(ml_dtypes.attr("bfloat16"));
    return copy ? out.attr("copy")() : out;
  }
  nb::object out = as_numpy(a, a.dtype());
  return copy ? out.attr("copy")() : out;
}

nb::object to_dlpack(const array& a, bool copy) {
  array lent = a;
  lent = lendable(lent);
  return exported<nb::array_api, nb::ro>(copy ? owned_copy(lent) : lent, a.dtype());
}

int get_buffer(PyObject* self, Py_buffer* view, int flags) {
  view->obj = nullptr;
  try {
    array a = *as_array(self);
    if (interrupted_again(a)) return -1;
    const char* format = kFormats[static_cast<int>(a.dtype())];
    if (!format) throw std::invalid_argument("the buffer protocol has no format for bfloat16");
    a = lendable(*as_array(self));
    bool writable = is_writable(a);
    if (!a.is_contiguous() && (flags & PyBUF_STRIDES) != PyBUF_STRIDES) {
      a = evaluated(contiguous(a));
      writable = false;
    }
    if ((flags & PyBUF_WRITABLE) && !writable)
      throw std::invalid_argument("the memory of this array is borrowed, and read-only");
    const auto itemsize = static_cast<Py_ssize_t>(a.itemsize());
    auto holder = std::make_unique<BufferView>(BufferView{a, {}, {}});
    for (int i = 0; i < a.ndim(); ++i) {
      holder->shape.push_back(a.shape()[i]);
      holder->strides.push_back(a.strides()[i] * itemsize);
    }
    *view = {};
    view->buf = const_cast<void*>(a.raw_data());
    view->obj = Py_NewRef(self);
    view->len = static_cast<Py_ssize_t>(a.nbytes());
    view->itemsize = itemsize;
    view->readonly = !writable;
    view->ndim = a.ndim();
    if (flags & PyBUF_FORMAT) view->format = const_cast<char*>(format);
    if (flags & PyBUF_ND) view->shape = holder->shape.data();
    if ((flags & PyBUF_STRIDES) == PyBUF_STRIDES) view->strides = holder->strides.data();
    view->internal = holder.release();
    return 0;
  } catch (const Interrupted&) {
    remember_interrupt(*as_array(self));
  } catch (const OutOfMemory& e) {
    PyErr_SetString(PyExc_MemoryError, e.what());
  } catch (const std::exception& e) {
    PyErr_SetString(PyExc_BufferError, e.what());
  }
  return -1;
}

void release_buffer(PyObject*, Py_buffer* view) { delete static_cast<BufferView*>(view->internal); }

void refuse_uninitialized(nb::handle h) {
  throw nb::type_error(
      ("an object of " + class_name(h) + " is used whose __init__ did not call its base's")
          .c_str());
}

void refuse_argument(nb::handle h, const char* function, const char* expected) {
  throw nb::type_error(
      (std::string(function) + ": expected " + expected + ", not " + class_name(h)).c_str());
}

nb::object to_items(nb::handle h) noexcept {
  constexpr Py_ssize_t kMostRows = 65536;  // each becomes an object
  if (!PySequence_Check(h.ptr()) || PyUnicode_Check(h.ptr()) || PyBytes_Check(h.ptr())) return {};
  if (PyList_CheckExact(h.ptr()) || PyTuple_CheckExact(h.ptr())) return nb::borrow(h);
  const Py_ssize_t rows = is_array(h) ? PySequence_Size(h.ptr()) : 0;
  const nb::object iterator =
      rows <= kMostRows ? nb::steal(PyObject_GetIter(h.ptr())) : nb::object();
  nb::object items = iterator ? nb::steal(PyList_New(0)) : nb::object();
  while (items) {  // which may never end
    const nb::object item = nb::steal(PyIter_Next(iterator.ptr()));
    if (!item) break;
    if (PyList_GET_SIZE(items.ptr()) == kMostRows || PyList_Append(items.ptr(), item.ptr()) < 0)
      items.reset();
  }
  if (PyErr_Occurred()) items.reset();
  PyErr_Clear();
  return items;
}

Arrays array_arguments(nb::handle args, const char* function) {
  const std::string expected = std::string(function) + ": expected a sequence of arrays";
  const nb::object items = nb::steal(PySequence_Fast(args.ptr(), expected.c_str()));
  if (!items) throw nb::python_error();
  Arrays out;
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(items.ptr()); ++i) {
    const nb::handle h = PySequence_Fast_GET_ITEM(items.ptr(), i);
    const array* a = as_array(h);
    if (!a) refuse_argument(h, function, "arrays");
    out.push_back(*a);
  }
  return out;
}

std::string class_name(nb::handle h) {
  return nb::cast<std::string>(nb::str(h.type().attr("__name__")));
}

StreamOrDevice to_stream(nb::handle h) {
  if (h.is_none()) return {};
  if (nb::isinstance<Stream>(h)) return *held<Stream>(h);
  if (nb::isinstance<ThreadLocalStream>(h)) return held<ThreadLocalStream>(h)->resolve();
  return nb::cast<DeviceLike>(h).device;
}

}  // namespace cermet::python
