// Arrays as text.
#include <atomic>
#include <cmath>
#include <sstream>

#include "cermet/array.h"
#include "cermet/ops.h"

namespace cermet {
namespace {

constexpr std::int64_t kEdge = 3;  // elements shown at each end of an axis that is cut short

std::atomic<int> precision{-1};

std::string number(double v, Dtype dtype) {
  std::ostringstream out;
  if (precision >= 0 && is_inexact(dtype) && std::isfinite(v)) out << std::fixed;
  out.precision(precision >= 0 ? precision.load() : 6);
  out << (std::isnan(v) ? std::abs(v) : v);
  return out.str();
}

class Printer {
 public:
  explicit Printer(const array& a)
      : a_(a), data_(static_cast<const std::byte*>(a.raw_data())), strides_(a.strides()) {}

  std::string text() {
    if (a_.ndim() > 1000)
      throw std::invalid_argument("array: cannot print " + std::to_string(a_.ndim()) + " axes");
    out_ << "array(";
    if (a_.size() == 0)
      out_ << "[]";
    else
      axis(0, 0);
    out_ << ", dtype=" << name_of(a_.dtype()) << ")";
    return out_.str();
  }

 private:
  void axis(int d, std::int64_t offset) {
    if (d == a_.ndim()) return element(offset);
    const std::int64_t n = a_.shape()[d];
    const bool last = d == a_.ndim() - 1, cut = n > 2 * kEdge;
    const std::string next = last ? ", " : ",\n" + std::string(7 + d, ' ');
    out_ << "[";
    for (std::int64_t i = 0; i < n; ++i) {
      if (i) out_ << next;
      if (cut && i == kEdge) {
        out_ << "..." << next;
        i = n - kEdge;
      }
      axis(d + 1, offset + i * strides_[d]);
    }
    out_ << "]";
  }

  void element(std::int64_t offset) {
    visit(a_.dtype(), [&]<class T>(Type<T>) {
      const T v = reinterpret_cast<const T*>(data_)[offset];
      if constexpr (std::is_same_v<T, bool>)
        out_ << (v ? "True" : "False");
      else if constexpr (std::is_integral_v<T>)
        out_ << +v;
      else if constexpr (std::is_same_v<T, complex64_t>)
        out_ << number(v.re, complex64) << (std::signbit(v.im) ? "" : "+")
             << number(v.im, complex64) << "j";
      else if constexpr (std::is_floating_point_v<T>)
        out_ << number(v, a_.dtype());
      else
        out_ << number(to_float(v), a_.dtype());
    });
  }

  const array& a_;
  const std::byte* data_;
  const Strides& strides_;
  std::ostringstream out_;
};

}  // namespace

std::string to_string(const array& a) { return Printer(a).text(); }
PrintOptions get_printoptions() { return {precision}; }
void set_printoptions(PrintOptions options) { precision = options.precision; }

}  // namespace cermet
