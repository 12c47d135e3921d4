// How operations check their arguments and report what does not fit.
#pragma once

#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "cermet/ops.h"

namespace cermet {

namespace detail {
inline std::string text(std::string_view v) { return std::string(v); }
inline std::string text(std::int64_t v) { return std::to_string(v); }
inline std::string text(int v) { return std::to_string(v); }
inline std::string text(Dtype v) { return std::string(name_of(v)); }
inline std::string text(const Shape& v) { return to_string(v); }
inline std::string text(const Axes& v) { return to_string(Shape(v.begin(), v.end())); }
}  // namespace detail

// Throws std::invalid_argument "op: parts...".
template <class... Parts>
[[noreturn]] void fail(std::string_view op, const Parts&... parts) {
  throw std::invalid_argument(std::string(op) + ": " + (detail::text(parts) + ...));
}

// A size, place or stride on its way through an operation's arithmetic: std::length_error where a
// result passes 63 bits. All shape rules compute with it what the extents of one shape do not
// bound.
class Size {
 public:
  Size(std::string_view op, std::int64_t value) : op_(op), value_(value) {}
  std::int64_t value() const { return value_; }
  Size operator+(std::int64_t b) const {
    return result(b, [](auto x, auto y, auto* to) { return __builtin_add_overflow(x, y, to); });
  }
  Size operator-(std::int64_t b) const {
    return result(b, [](auto x, auto y, auto* to) { return __builtin_sub_overflow(x, y, to); });
  }
  Size operator*(std::int64_t b) const {
    return result(b, [](auto x, auto y, auto* to) { return __builtin_mul_overflow(x, y, to); });
  }

 private:
  template <class Overflows>
  Size result(std::int64_t b, Overflows overflows) const {
    Size out = *this;
    if (overflows(value_, b, &out.value_))
      throw std::length_error(std::string(op_) + ": a size or place of more than 63 bits");
    return out;
  }
  std::string_view op_;
  std::int64_t value_;
};

// element_count with the operation in its errors.
std::int64_t count_of(std::string_view op, const Shape& shape);

// "op: index 5 is out of range for axis 0 of size 3".
inline IndexError index_error(std::string_view op, std::int64_t index, int axis,
                              std::int64_t extent) {
  return IndexError(std::string(op) + ": index " + std::to_string(index) +
                    " is out of range for axis " + std::to_string(axis) + " of size " +
                    std::to_string(extent));
}

// Each axis in [0, ndim), ascending; AxisError out of range, std::invalid_argument for a repeat.
// All axes when absent.
Axes normalize_axes(std::string_view op, const OptionalAxes& axes, int ndim);

// All of `ndim` axes, those given last.
Axes moved_last(int ndim, const Axes& last);
// The order of axes that undoes a transposition.
Axes inverse_of(const Axes& order);
// The extents of the axes that are not among these.
Shape without(const Shape& shape, const Axes& axes);
// The batch axes of matrices, and the shape of a batch of matrices.
Shape batch_of(const array& matrices);
Shape matrices(Shape batch, std::int64_t rows, std::int64_t columns);

// The value of a scalar that is known without an evaluation, as it was made of a number.
std::optional<double> known_value(const array& a);

// Throws where places along an axis are more than uint32, the type of indices, can tell apart.
void require_places(std::string_view op, const Shape& shape, int axis);

// True when an array of the one shape broadcasts to exactly the other.
bool broadcasts_to(const Shape& from, const Shape& to);

// Throws unless the type is real floating, respectively floating or complex.
void require_floating(std::string_view op, Dtype dtype);
void require_inexact(std::string_view op, Dtype dtype);

// The elements start, start + step, ... before stop of one axis.
array section(const array& a, int axis, std::int64_t start, std::int64_t stop, std::int64_t step,
              StreamOrDevice s);
// The first rows and columns of matrices.
array corner(const array& a, std::int64_t rows, std::int64_t columns, StreamOrDevice s);

// The maximum over the axes (0 where it is infinite), a constant of differentiation, and
// log(sum(exp(a - maximum))). The sum of both is logsumexp, which may be too large to hold the
// second.
std::pair<array, array> log_total(const array& a, const Axes& axes, StreamOrDevice s);

// A square root with the derivative 0 at 0: that of a length.
array length_of_square(const array& a, StreamOrDevice s);

// The type in which float16, bfloat16 and integers are accumulated: float32. Others are their own.
inline Dtype accurate(Dtype t) { return is_half(t) || !is_inexact(t) ? float32 : t; }

}  // namespace cermet
