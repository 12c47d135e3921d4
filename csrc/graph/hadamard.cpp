// The product with a Hadamard matrix.
#include <array>
#include <bit>
#include <cmath>

#include "graph/check.h"
#include "graph/primitive.h"

namespace cermet {

namespace {

// The signs of a Hadamard matrix of order 4 n from the first rows of four circulant matrices
// (J. Williamson, "Hadamard's determinant theorem and the sum of four squares", 1944).
std::vector<float> williamson(const std::array<std::string_view, 4>& rows) {
  constexpr int kBlock[4][4] = {{0, 1, 2, 3}, {1, 0, 3, 2}, {2, 3, 0, 1}, {3, 2, 1, 0}};
  constexpr int kSign[4][4] = {{1, 1, 1, 1}, {-1, 1, -1, 1}, {-1, 1, 1, -1}, {-1, -1, 1, 1}};
  const std::size_t n = rows[0].size(), order = 4 * n;
  std::vector<float> h;
  for (std::size_t i = 0; i < order; ++i)
    for (std::size_t j = 0; j < order; ++j) {
      const std::size_t p = i / n, q = j / n;
      const char sign = rows[kBlock[p][q]][(j + order - i) % n];
      h.push_back(static_cast<float>(sign == '+' ? kSign[p][q] : -kSign[p][q]));
    }
  return h;
}

// Of order 2 (q + 1), q = 5, from the squares modulo q (R. Paley, "On orthogonal matrices", 1933).
std::vector<float> paley_12() {
  constexpr int q = 5, kSquare[q] = {0, 1, -1, -1, 1};
  constexpr int kZero[2][2] = {{1, -1}, {-1, -1}}, kOne[2][2] = {{1, 1}, {1, -1}};
  std::vector<float> h;
  for (int i = 0; i < 2 * (q + 1); ++i)
    for (int j = 0; j < 2 * (q + 1); ++j) {
      const int p = i / 2, r = j / 2;
      const int c = p == r ? 0 : p == 0 || r == 0 ? 1 : kSquare[(q + r - p) % q];
      h.push_back(static_cast<float>(c == 0 ? kZero[i % 2][j % 2] : c * kOne[i % 2][j % 2]));
    }
  return h;
}

// The matrix of order 2^k: the parity of the bits that row and column share.
std::vector<float> sylvester(std::uint32_t order) {
  std::vector<float> h;
  for (std::uint32_t i = 0; i < order; ++i)
    for (std::uint32_t j = 0; j < order; ++j) h.push_back(std::popcount(i & j) % 2 ? -1 : 1);
  return h;
}

}  // namespace

array hadamard_transform(const array& a, std::optional<double> scale, StreamOrDevice s) {
  constexpr std::int64_t kFactor = 64;  // a matrix this large is still in cache
  const std::int64_t n = a.ndim() ? a.shape(-1) : 1;
  const std::int64_t power = n & -n;  // the largest power of 2 in n
  std::vector<std::pair<std::int64_t, std::vector<float>>> factors;
  const std::int64_t odd = n ? n / power : 0;
  if (odd == 3 && power >= 4) factors.emplace_back(12, paley_12());
  if (odd == 5 && power >= 4)
    factors.emplace_back(20, williamson({"+----", "+----", "++--+", "+-++-"}));
  if (odd == 7 && power >= 4)
    factors.emplace_back(28, williamson({"+------", "++----+", "+-+--+-", "+--++--"}));
  if (odd != 1 && factors.empty())
    fail("hadamard_transform", "the last axis of ", a.shape(),
         " is not m * 2^k long with m one of 1, 12, 20, 28");
  for (std::int64_t left = odd == 1 ? power : power / 4; left > 1;) {
    const std::int64_t factor = std::min(left, kFactor);
    factors.emplace_back(factor, sylvester(static_cast<std::uint32_t>(factor)));
    left /= factor;
  }
  // The transform is the Kronecker product of the factors: one product along an axis for each.
  array x = astype(a, to_inexact(a.dtype()), s);
  std::int64_t inner = n;
  for (const auto& [order, signs] : factors) {
    inner /= order;
    const array h = astype(array(signs, {order, order}), x.dtype(), s);
    const std::int64_t outer = a.size() / (order * inner);
    x = inner == 1 ? matmul(reshape(x, {outer, order}, s), transpose(h, s), s)
                   : matmul(h, reshape(x, {outer, order, inner}, s), s);
  }
  const array out = reshape(x, a.shape(), s);
  const double by = scale.value_or(1 / std::sqrt(static_cast<double>(n)));
  return by == 1 ? out : multiply(out, scalar_like(by, out), s);
}

}  // namespace cermet
