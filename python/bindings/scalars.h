// Python's numbers as C++'s and as arrays without axes.
#pragma once

#include <complex>

#include "convert.h"

namespace cermet::python {

// Kinds of Python scalars, weakest first.
enum class Scalar : std::uint8_t { none, boolean, integer, floating, complex };
Scalar scalar_kind(PyObject* p);

bool is_numpy_scalar(nb::handle h);
// A NumPy scalar as the Python scalar nearest to it; TypeError for one that is no number.
nb::object from_numpy_scalar(nb::handle h);

bool is_negative(nb::handle integer);
// Whether a type of integers holds the integer.
bool holds(Dtype dtype, nb::handle integer);
// The value's 64 bits; those of an unsigned number where `dtype` is uint64.
std::int64_t to_int64(nb::handle h, Dtype dtype = int64);
double to_double(nb::handle h);
std::complex<float> to_complex(nb::handle h);

// A scalar as an operand beside an array of type `like`, in an operation of this rule.
array weak_scalar(nb::handle h, Scalar kind, std::optional<Dtype> like, Rule rule = Rule::same);
// A scalar as the constructor takes it: of the type given, which may wrap or truncate it.
array strong_scalar(nb::handle h, Scalar kind, std::optional<Dtype> dtype);

}  // namespace cermet::python
