// Linear algebra: one primitive with several results, the factorizations, and compositions.
#include "cermet/linalg.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <span>

#include "graph/check.h"
#include "graph/primitives/algebra.h"
#include "graph/rules.h"

namespace cermet {

Results Factorization::results(const Shape& input) const {
  Results all;
  for (const Result& r : entry) {
    Shape shape(input.begin(), input.end() - 2);
    for (const std::int64_t n : r.shape) shape.push_back(n);
    all.push_back({std::move(shape), r.dtype});
  }
  return all;
}

Arrays Factorization::vmap_all(const Batched& in, const Arrays& outputs) const {
  const Arrays all = in.all();
  return make_outputs(Ref<const Several>(this), results(all[0].shape()), {all.begin(), all.end()},
                      outputs[0].stream());
}

}  // namespace cermet

namespace cermet::linalg {
namespace {

using Routine = Factorization::Routine;

constexpr int kMostSquarings = 16;

Dtype real_of(Dtype t) { return t == complex64 ? float32 : t; }

array conjugate_transpose(const array& a, StreamOrDevice s) {
  const array t = matrix_transpose(a, s);
  return is_complex(a.dtype()) ? conjugate(t, s) : t;
}

void check_matrix(std::string_view op, const array& a, bool square) {
  if (a.dtype() != float32 && a.dtype() != float64 && a.dtype() != complex64)
    fail(op, a.dtype(), " is not supported, expected float32, float64 or complex64");
  if (a.ndim() < 2) fail(op, "shape ", a.shape(), ": expected at least 2 dimensions");
  if (square && a.shape(-2) != a.shape(-1)) fail(op, "matrices ", a.shape(), " are not square");
  if (std::max(a.shape(-2), a.shape(-1)) > std::numeric_limits<int>::max())  // LAPACK's
    fail(op, "matrices ", a.shape(), " have more rows or columns than 31 bits count");
}

// `results` are those of one matrix.
Arrays factorize(std::string_view op, Routine routine, const Arrays& inputs, Results results,
                 StreamOrDevice s, bool upper = false) {
  auto primitive =
      make_ref<const Factorization>(std::string(op), routine, upper, std::move(results));
  Results all = primitive->results(inputs[0].shape());
  return make_outputs(std::move(primitive), std::move(all), {inputs.begin(), inputs.end()},
                      s.resolve());
}

// A factorization of square matrices with one result of their own shape.
array transform(std::string_view op, Routine routine, const array& a, bool upper,
                StreamOrDevice s) {
  check_matrix(op, a, true);
  return factorize(op, routine, {a}, {{{a.shape(-1), a.shape(-1)}, a.dtype()}}, s, upper)[0];
}

array solve_with(std::string_view op, Routine routine, const array& a, const array& b, bool upper,
                 StreamOrDevice s) {
  if (b.ndim() == 1) {
    const array column = expand_dims(b, {1}, s);
    return squeeze(solve_with(op, routine, a, column, upper, s), {-1}, s);
  }
  check_matrix(op, a, true);
  if (!is_inexact(b.dtype()) || is_half(b.dtype()))
    return solve_with(op, routine, a, astype(b, a.dtype(), s), upper, s);
  check_matrix(op, b, false);
  const std::int64_t n = a.shape(-1), columns = b.shape(-1);
  if (b.shape(-2) != n)
    fail(op, "a ", a.shape(), " and b ", b.shape(), " do not fit: ", n, " rows against ",
         b.shape(-2));
  const Dtype t = promote(a.dtype(), b.dtype());
  const Shape batch = broadcast_shapes(batch_of(a), batch_of(b));
  const auto batched = [&](const array& x, std::int64_t width) {
    return broadcast_to(astype(x, t, s), matrices(batch, n, width), s);
  };
  return factorize(op, routine, {batched(a, n), batched(b, columns)}, {{{n, columns}, t}}, s,
                   upper)[0];
}

// The packed factors, the exchanged rows, and which row of l u each row is.
Arrays lu_parts(std::string_view op, const array& a, bool square, StreamOrDevice s) {
  check_matrix(op, a, square);
  const std::int64_t m = a.shape(-2), n = a.shape(-1);
  return factorize(op, Routine::lu, {a},
                   {{{m, n}, a.dtype()}, {{std::min(m, n)}, uint32}, {{m}, uint32}}, s);
}

// The diagonal of u, and the sign of the row exchanges.
std::pair<array, array> diagonal_and_parity(std::string_view op, const array& a, StreamOrDevice s) {
  const Arrays parts = lu_parts(op, a, true, s);
  const array kept = equal(parts[1], arange(0, a.shape(-1), 1, uint32, s), s);
  const array signs = select(kept, array(1.0, a.dtype()), array(-1.0, a.dtype()), s);
  return {diagonal(parts[0], 0, -2, -1, s), prod(signs, Axes{-1}, false, s)};
}

}  // namespace

std::pair<array, array> qr(const array& a, StreamOrDevice s) {
  check_matrix("qr", a, false);
  const std::int64_t m = a.shape(-2), n = a.shape(-1), k = std::min(m, n);
  const Arrays out =
      factorize("qr", Routine::qr, {a}, {{{m, k}, a.dtype()}, {{k, n}, a.dtype()}}, s);
  return {out[0], out[1]};
}

std::tuple<array, array, array> svd(const array& a, StreamOrDevice s) {
  check_matrix("svd", a, false);
  const std::int64_t m = a.shape(-2), n = a.shape(-1);
  const Arrays out = factorize(
      "svd", Routine::svd, {a},
      {{{m, m}, a.dtype()}, {{std::min(m, n)}, real_of(a.dtype())}, {{n, n}, a.dtype()}}, s);
  return {out[0], out[1], out[2]};
}

array singular_values(const array& a, StreamOrDevice s) {
  check_matrix("svd", a, false);
  return factorize("svd", Routine::singular_values, {a},
                   {{{std::min(a.shape(-2), a.shape(-1))}, real_of(a.dtype())}}, s)[0];
}

std::pair<array, array> eigh(const array& a, bool upper, StreamOrDevice s) {
  check_matrix("eigh", a, true);
  const std::int64_t n = a.shape(-1);
  const Arrays out = factorize("eigh", Routine::eigh, {a},
                               {{{n, n}, a.dtype()}, {{n}, real_of(a.dtype())}}, s, upper);
  return {out[1], out[0]};
}

array eigvalsh(const array& a, bool upper, StreamOrDevice s) {
  check_matrix("eigvalsh", a, true);
  return factorize("eigvalsh", Routine::eigvalsh, {a}, {{{a.shape(-1)}, real_of(a.dtype())}}, s,
                   upper)[0];
}

std::pair<array, array> eig(const array& a, StreamOrDevice s) {
  check_matrix("eig", a, true);
  const std::int64_t n = a.shape(-1);
  const Arrays out =
      factorize("eig", Routine::eig, {a}, {{{n}, complex64}, {{n, n}, complex64}}, s);
  return {out[0], out[1]};
}

array eigvals(const array& a, StreamOrDevice s) {
  check_matrix("eigvals", a, true);
  return factorize("eigvals", Routine::eigvals, {a}, {{{a.shape(-1)}, complex64}}, s)[0];
}

array cholesky(const array& a, bool upper, StreamOrDevice s) {
  return transform("cholesky", Routine::cholesky, a, upper, s);
}

std::tuple<array, array, array> lu(const array& a, StreamOrDevice s) {
  const Arrays parts = lu_parts("lu", a, false, s);
  const std::int64_t m = a.shape(-2), n = a.shape(-1), k = std::min(m, n);
  const array l = add(tril(corner(parts[0], m, k, s), -1, s), eye(m, k, 0, a.dtype(), s), s);
  return {parts[2], l, triu(corner(parts[0], k, n, s), 0, s)};
}

std::pair<array, array> lu_factor(const array& a, StreamOrDevice s) {
  const Arrays parts = lu_parts("lu_factor", a, false, s);
  return {parts[0], parts[1]};
}

array inv(const array& a, StreamOrDevice s) {
  check_matrix("inv", a, true);
  return solve_with("inv", Routine::solve, a, identity(a.shape(-1), a.dtype(), s), false, s);
}

array tri_inv(const array& a, bool upper, StreamOrDevice s) {
  return transform("tri_inv", Routine::tri_inv, a, upper, s);
}

array cholesky_inv(const array& a, bool upper, StreamOrDevice s) {
  const array x = transform("cholesky_inv", Routine::tri_inv, a, upper, s);
  const array xt = conjugate_transpose(x, s);
  return upper ? matmul(x, xt, s) : matmul(xt, x, s);
}

array pinv(const array& a, StreamOrDevice s) {
  check_matrix("pinv", a, false);
  return factorize("pinv", Routine::pinv, {a}, {{{a.shape(-1), a.shape(-2)}, a.dtype()}}, s)[0];
}

array solve(const array& a, const array& b, StreamOrDevice s) {
  return solve_with("solve", Routine::solve, a, b, false, s);
}

array solve_triangular(const array& a, const array& b, bool upper, StreamOrDevice s) {
  return solve_with("solve_triangular", Routine::solve_triangular, a, b, upper, s);
}

array det(const array& a, StreamOrDevice s) {
  const Dtype out = to_inexact(a.dtype());
  const auto [diagonal, parity] = diagonal_and_parity("det", astype(a, accurate(out), s), s);
  return astype(multiply(parity, prod(diagonal, Axes{-1}, false, s), s), out, s);
}

std::pair<array, array> slogdet(const array& a, StreamOrDevice s) {
  const Dtype out = to_inexact(a.dtype());
  const auto [diagonal, parity] = diagonal_and_parity("slogdet", astype(a, accurate(out), s), s);
  const array logarithm = sum(log(abs(diagonal, s), s), Axes{-1}, false, s);
  return {astype(multiply(parity, prod(sign(diagonal, s), Axes{-1}, false, s), s), out, s),
          astype(logarithm, real_of(out), s)};
}

// ---- What is made of others ----

array matrix_power(const array& a, int n, StreamOrDevice s) {
  check_matrix("matrix_power", a, true);
  if (n == 0) return broadcast_to(identity(a.shape(-1), a.dtype(), s), a.shape(), s);
  array square = n < 0 ? inv(a, s) : a;
  std::optional<array> out;
  for (unsigned rest = n < 0 ? 0u - static_cast<unsigned>(n) : static_cast<unsigned>(n);;) {
    if (rest & 1) out = out ? matmul(*out, square, s) : square;
    if (!(rest >>= 1)) return *out;
    square = matmul(square, square, s);
  }
}

LeastSquares lstsq(const array& a, const array& b, std::optional<double> rcond, StreamOrDevice s) {
  if (b.ndim() == 1) {
    LeastSquares out = lstsq(a, expand_dims(b, {1}, s), rcond, s);
    return {squeeze(out.x, {-1}, s), squeeze(out.residuals, {-1}, s), out.rank,
            out.singular_values};
  }
  check_matrix("lstsq", a, false);
  check_matrix("lstsq", b, false);
  const std::int64_t m = a.shape(-2), n = a.shape(-1), k = std::min(m, n);
  if (b.shape(-2) != m)
    fail("lstsq", "a ", a.shape(), " and b ", b.shape(), " do not fit: ", m, " rows against ",
         b.shape(-2));
  const array values = singular_values(a, s);
  const double eps = a.dtype() == float64 ? std::numeric_limits<double>::epsilon()
                                          : std::numeric_limits<float>::epsilon();
  const array least =
      scalar_like(rcond.value_or(static_cast<double>(std::max(m, n)) * eps), values);
  const auto counts = [&](const array& v) {
    const array first = section(v, v.ndim() - 1, 0, std::min<std::int64_t>(1, k), 1, s);
    return greater(v, multiply(first, least, s), s);
  };
  std::optional<array> x;
  if (rcond) {
    const auto [u, w, vt] = svd(a, s);
    const array one = scalar_like(1, w), kept = counts(w);
    const array inverse =
        select(kept, divide(one, select(kept, w, one, s), s), scalar_like(0, w), s);
    const array along = matmul(conjugate_transpose(corner(u, m, k, s), s), b, s);
    x = matmul(conjugate_transpose(corner(vt, k, n, s), s),
               multiply(along, expand_dims(inverse, {-1}, s), s), s);
  } else {
    x = matmul(pinv(a, s), b, s);
  }
  const array rest = abs(subtract(b, matmul(a, *x, s), s), s);
  return {*x, sum(square(rest, s), Axes{-2}, false, s),
          astype(sum(counts(values), Axes{-1}, false, s), int32, s), values};
}

array expm(const array& a, StreamOrDevice s) {
  check_matrix("expm", a, true);
  if (a.shape(-1) == 0) return a;
  // The numerator's coefficients, of even and odd powers in turn, and up to which norm the
  // approximation has the type's accuracy.
  static constexpr double k7[] = {17297280, 8648640, 1995840, 277200, 25200, 1512, 56, 1};
  static constexpr double k13[] = {64764752532480000,
                                   32382376266240000,
                                   7771770303897600,
                                   1187353796428800,
                                   129060195264000,
                                   10559470521600,
                                   670442572800,
                                   33522128640,
                                   1323241920,
                                   40840800,
                                   960960,
                                   16380,
                                   182,
                                   1};
  const bool is_double = a.dtype() == float64;
  const std::span<const double> coefficients = is_double ? std::span<const double>(k13) : k7;
  const array norms =
      max(sum(abs(a, s), Axes{-2}, true, s), Axes{-1}, true, s);  // 1-norms, (..., 1, 1)
  const array largest = scalar_like(is_double ? 5.371920351148152 : 3.925724783138660, norms);
  const array squarings =
      maximum(ceil(log2(divide(norms, largest, s), s), s), scalar_like(0, norms), s);
  const array scale = power(scalar_like(0.5, norms), squarings, s);
  const array x = multiply(a, astype(scale, a.dtype(), s), s), x2 = matmul(x, x, s);
  const array one = identity(a.shape(-1), a.dtype(), s);
  const auto horner = [&](std::size_t last) {  // of x2, over every other coefficient
    array sum = multiply(one, scalar_like(coefficients[last], a), s);
    for (std::size_t k = last; k >= 2; k -= 2)
      sum = add(matmul(x2, sum, s), multiply(one, scalar_like(coefficients[k - 2], a), s), s);
    return sum;
  };
  const array odd = matmul(x, horner(coefficients.size() - 1), s);
  const array even = horner(coefficients.size() - 2);
  array out = solve(subtract(even, odd, s), add(even, odd, s), s);
  for (int i = 0; i < kMostSquarings; ++i)
    out = select(greater(squarings, scalar_like(i, squarings), s), matmul(out, out, s), out, s);
  return select(greater(squarings, scalar_like(kMostSquarings, squarings), s),
                scalar_like(NAN, out), out, s);
}

// ---- Norms and products ----

namespace {

array vector_norm(const array& a, double order, const OptionalAxes& axes, bool keepdims,
                  StreamOrDevice s) {
  const array size = abs(a, s);
  if (order == INFINITY) return max(size, axes, keepdims, s);
  if (order == -INFINITY) return min(size, axes, keepdims, s);
  if (order == 0) return astype(count_nonzero(a, axes, keepdims, s), size.dtype(), s);
  if (order == 1) return sum(size, axes, keepdims, s);
  if (order == 2) {
    const array squares = square(is_complex(a.dtype()) ? size : a, s);
    return length_of_square(sum(squares, axes, keepdims, s), s);
  }
  const array powers = sum(power(size, scalar_like(order, size), s), axes, keepdims, s);
  const array inverse = scalar_like(1 / order, powers);
  if (order < 0) return power(powers, inverse, s);
  const array zero = equal(powers, scalar_like(0, powers), s);  // where a root has no derivative
  return select(zero, powers, power(select(zero, inverse, powers, s), inverse, s), s);
}

// The axes of a norm with an order: one, or the rows and columns of matrices.
Axes norm_axes(const array& a, const OptionalAxes& given) {
  Axes axes = given.value_or(Axes{});
  if (!given)
    for (int i = 0; i < a.ndim(); ++i) axes.push_back(i);
  for (int& axis : axes) axis = normalize_axis("norm", axis, a.ndim());
  if (axes.size() != 1 && axes.size() != 2)
    fail("norm", static_cast<int>(axes.size()),
         " axes: with an order, one axis (vectors) or two (matrices) are needed");
  if (axes.size() == 2 && axes[0] == axes[1]) fail("norm", "axes ", axes, " name an axis twice");
  return axes;
}

// Puts a matrix norm's reduced axes back, with extent 1.
array restored(const array& norms, Axes axes, bool keepdims, StreamOrDevice s) {
  return keepdims ? expand_dims(norms, axes, s) : norms;
}

// The singular values (..., k) of the matrices along two axes.
array singular_values_along(const array& a, const Axes& axes, StreamOrDevice s) {
  return singular_values(transpose(a, moved_last(a.ndim(), axes), s), s);
}

array matrix_norm(const array& a, double order, const Axes& axes, bool keepdims, StreamOrDevice s) {
  const double size = std::abs(order);
  if (size != 1 && size != 2 && !std::isinf(size))
    fail("norm", "a matrix norm's order is 1, -1, 2, -2, inf, -inf, 'fro' or 'nuc'");
  const auto extreme = order > 0 ? &max : &min;
  if (size == 2) {
    const array values = singular_values_along(a, axes, s);
    return restored(extreme(values, Axes{-1}, false, s), axes, keepdims, s);
  }
  const array sums = sum(abs(a, s), Axes{size == 1 ? axes[0] : axes[1]}, true, s);
  return extreme(sums, axes, keepdims, s);
}

}  // namespace

array norm(const array& a, const OptionalAxes& axes, bool keepdims, StreamOrDevice s) {
  return vector_norm(astype(a, to_inexact(a.dtype()), s), 2, axes, keepdims, s);
}

array norm(const array& a, double order, const OptionalAxes& axes, bool keepdims,
           StreamOrDevice s) {
  const array x = astype(a, to_inexact(a.dtype()), s);
  const Axes along = norm_axes(x, axes);
  return along.size() == 1 ? vector_norm(x, order, along, keepdims, s)
                           : matrix_norm(x, order, along, keepdims, s);
}

array norm(const array& a, const std::string& order, const OptionalAxes& axes, bool keepdims,
           StreamOrDevice s) {
  const bool nuclear = order == "nuc";
  if (!nuclear && order != "fro" && order != "f")
    fail("norm", "the order is a number, 'fro' or 'nuc', not '", order, "'");
  const Axes along = norm_axes(a, axes);
  if (along.size() != 2) fail("norm", "'", order, "' is a norm of matrices: two axes are needed");
  if (!nuclear) return norm(a, along, keepdims, s);
  const array x = astype(a, to_inexact(a.dtype()), s);
  const array values = singular_values_along(x, along, s);
  return restored(sum(values, Axes{-1}, false, s), along, keepdims, s);
}

array cross(const array& a, const array& b, int axis, StreamOrDevice s) {
  const int ndim = std::max(a.ndim(), b.ndim());
  for (const array* v : {&a, &b}) normalize_axis("cross", axis, v->ndim());
  axis = normalize_axis("cross", axis, ndim);
  // Of another rank, the axis is that of the arrays broadcast, whose new ones are the first.
  const auto moved = [&](const array& v) {
    Shape shape(static_cast<std::size_t>(ndim - v.ndim()), 1);
    for (const std::int64_t extent : v.shape()) shape.push_back(extent);
    return moveaxis(reshape(v, shape, s), axis, 0, s);
  };
  const array x = moved(a), y = moved(b);
  const auto extent = [](const array& v) { return v.shape(0); };
  if ((extent(x) != 2 && extent(x) != 3) || (extent(y) != 2 && extent(y) != 3))
    fail("cross", "axis ", axis, " of ", a.shape(), " and ", b.shape(),
         " has another extent than 2 or 3");
  Arrays u = unstack(x, 0, s), v = unstack(y, 0, s);
  const auto part = [&](std::size_t i, std::size_t j) {
    return subtract(multiply(u[i], v[j], s), multiply(u[j], v[i], s), s);
  };
  // A vector of a plane has no third part.
  for (Arrays* parts : {&u, &v})
    if (parts->size() == 2) parts->push_back(zeros_like(parts->front(), {}, s));
  return moveaxis(stack({part(1, 2), part(2, 0), part(0, 1)}, 0, s), 0, axis, s);
}

}  // namespace cermet::linalg
