// Arrays as text.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <stdexcept>

#include "cermet/array.h"
#include "cermet/ops.h"
#include "graph/text.h"

namespace cermet {
namespace {

constexpr std::int64_t kMostShown = 1000;  // elements
constexpr int kMostDigits = 1000;          // behind the point

// How many elements of an axis are shown where it begins and where it ends, if it is longer.
struct Ends {
  std::int64_t front, back;
  std::int64_t shown(std::int64_t extent) const { return std::min(extent, front + back); }
};
constexpr Ends kEnds[] = {{3, 3}, {1, 1}, {1, 0}};

std::atomic<int> precision{-1};

std::string number(double v, Dtype dtype) {
  Text out;
  if (precision >= 0 && is_inexact(dtype) && std::isfinite(v)) out << std::fixed;
  out.precision(precision >= 0 ? precision.load() : 6);
  out << (std::isnan(v) ? std::abs(v) : v);
  return out.str();
}

class Printer {
 public:
  explicit Printer(const array& a)
      : a_(a),
        data_(static_cast<const std::byte*>(a.raw_data())),
        strides_(a.strides()),
        ends_(static_cast<std::size_t>(a.ndim()), kEnds[0]),
        at_(a.shape().size(), 0) {
    // The outer axes are cut shorter, until the whole is short.
    double shown = 1;
    for (std::size_t d = 0; d < ends_.size(); ++d) shown *= ends_[d].shown(a.shape()[d]);
    for (const Ends& shorter : {kEnds[1], kEnds[2]})
      for (std::size_t d = 0; d < ends_.size() && shown > kMostShown; ++d) {
        shown *= static_cast<double>(shorter.shown(a.shape()[d])) / ends_[d].shown(a.shape()[d]);
        ends_[d] = shorter;
      }
  }

  std::string text() {
    if (a_.ndim() > 1000)
      throw std::invalid_argument("array: cannot print " + std::to_string(a_.ndim()) + " axes");
    out_ << "array(";
    if (a_.size() == 0)
      out_ << "[]";
    else
      elements();
    out_ << ", dtype=" << name_of(a_.dtype()) << ")";
    return out_.str();
  }

 private:
  void elements() {
    const auto ndim = static_cast<std::size_t>(a_.ndim());
    std::size_t d = 0;  // the outermost axis along which the last step went
    do {
      out_ << std::string(ndim - d, '[');
      element();
      for (d = ndim; d > 0 && !step(d - 1); --d) out_ << "]";
    } while (d > 0);
  }

  // Goes to the next element shown along an axis; false, and back to the first, behind the last.
  bool step(std::size_t d) {
    const std::int64_t n = a_.shape()[d], i = at_[d];
    const auto [front, back] = ends_[d];
    const std::string next = d + 1 == at_.size() ? ", " : ",\n" + std::string(7 + d, ' ');
    std::int64_t to = i + 1;
    if (to == front && n > front + back) {
      out_ << next << "...";
      to = n - back;
    }
    if (to == n) to = 0;
    if (to != 0) out_ << next;
    at_[d] = to;
    offset_ += (to - i) * strides_[d];
    return to != 0;
  }

  void element() {
    visit(a_.dtype(), [&]<class T>(Type<T>) {
      const T v = reinterpret_cast<const T*>(data_)[offset_];
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
  std::vector<Ends> ends_;
  Shape at_;                 // the element to print
  std::int64_t offset_ = 0;  // its place
  Text out_;
};

}  // namespace

std::string to_string(const array& a) { return Printer(a).text(); }
PrintOptions get_printoptions() { return {precision}; }
void set_printoptions(PrintOptions options) {
  if (options.precision < -1 || options.precision > kMostDigits)
    throw std::invalid_argument("set_printoptions: the precision is " +
                                std::to_string(options.precision) + ", expected -1 to " +
                                std::to_string(kMostDigits));
  precision = options.precision;
}

}  // namespace cermet
