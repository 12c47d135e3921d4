// Matrix products, Fourier transforms and routines of linear algebra.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "graph/primitive.h"

namespace cermet {

// (..., m, k) x (..., k, n) -> (..., m, n): equal batch axes and dtypes (the caller broadcasts).
class Matmul final : public Primitive {
 public:
  Matmul() : Primitive(Kind::matmul) { make_immortal(); }
  CERMET_RULES("matmul")
};

// A Fourier transform along an axis: of complex numbers; of real ones, to the frequencies that are
// not negative; or of such a half to real numbers, for which it is the inverse.
class Fft final : public Primitive {
 public:
  enum class Type : std::uint8_t { complex, real, half };
  enum class Divisor : std::uint8_t { one, root, count };  // of the number of points
  Fft(Type type, int axis, bool inverse, bool odd, Divisor divisor)
      : Primitive(Kind::fft),
        type(type),
        axis(axis),
        inverse(inverse),
        odd(odd),
        divisor(divisor) {}
  const Type type;
  const int axis;
  const bool inverse, odd;  // odd: the number of points, where a half does not say
  const Divisor divisor;
  double factor(std::int64_t points) const;
  // The number of points and the result's shape for such an input.
  std::int64_t points(const Shape& input) const;
  Shape result(Shape input) const;
  CERMET_PARAMETERS(type, axis, inverse, odd, divisor)
  std::string parameters() const override;
  static constexpr std::string_view kNames[] = {"fft", "rfft", "irfft", "ifft"};
  CERMET_RULES(kNames[type == Type::complex && inverse ? 3 : static_cast<int>(type)])
};

// A routine of linear algebra, applied to every matrix (..., m, n); all inputs' other axes are
// equal.
class Factorization final : public Several {
 public:
  enum class Routine : std::uint8_t {
    qr,
    svd,
    singular_values,
    pinv,
    eigh,
    eigvalsh,
    eig,
    eigvals,
    cholesky,
    lu,
    tri_inv,
    solve,
    solve_triangular,
  };
  // `op` is the operation for errors; `entry` are the results of one matrix.
  Factorization(std::string op, Routine routine, bool upper, Results entry)
      : Several(Kind::factorization),
        op(std::move(op)),
        routine(routine),
        upper(upper),
        entry(std::move(entry)) {}
  const std::string op;
  const Routine routine;
  const bool upper;
  const Results entry;
  // Those of a batch of matrices that has this shape.
  Results results(const Shape& input) const;
  std::string_view name() const override { return op; }
  std::string parameters() const override { return upper ? "upper=true" : ""; }
  CERMET_PARAMETERS(op, routine, upper, entry)
  std::vector<std::optional<array>> vjp_all(std::span<const array> inputs, const Arrays& outputs,
                                            const Arrays& cotangents) const override;
  Arrays jvp_all(std::span<const array> inputs, const Arrays& outputs,
                 const std::vector<std::optional<array>>& tangents) const override;
  Arrays vmap_all(const Batched& in, const Arrays& outputs) const override;
};

}  // namespace cermet
