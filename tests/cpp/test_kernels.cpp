// The CPU's primitives against naive loops, over dtypes, layouts and edge cases.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>
#include <thread>

#include "cermet/eval.h"
#include "cpu/layout.h"
#include "cpu/scalar.h"
#include "graph/composites.h"
#include "graph/primitives.h"

using namespace cermet;
using namespace cermet::cpu;

namespace {

std::mt19937 rng(7);

// Elements as double (the real part), to compare across dtypes.
template <class T>
double to_double(T x) {
  if constexpr (kIsHalf<T>)
    return to_float(x);
  else if constexpr (kIsComplex<T>)
    return x.re;
  else
    return static_cast<double>(x);
}
template <class T>
T from_double(double x) {
  if constexpr (kIsHalf<T>)
    return from_float<T>(static_cast<float>(x));
  else if constexpr (kIsComplex<T>)
    return {static_cast<float>(x), 0};
  else
    return static_cast<T>(x);
}

double& at(std::vector<double>& v, std::int64_t i) { return v[static_cast<std::size_t>(i)]; }

// A tensor that keeps its memory.
struct Owned {
  Owned(Dtype dtype, const Shape& shape) : scratch(dtype, shape), t(scratch.tensor) {
    std::memset(t.data, 0xff, static_cast<std::size_t>(t.size()) * size_of(dtype));
  }
  // The values in row-major order.
  std::vector<double> values() const {
    std::vector<double> v;
    if (t.size() == 0) return v;
    visit(t.dtype, [&]<class T>(Type<T>) {
      const Domain<1> domain{t.shape, {t.strides}};
      Walk<1> walk(domain, 0);
      for (std::int64_t i = 0; i < t.size(); ++i, walk.next())
        v.push_back(to_double(data<T>(t)[walk.offset[0]]));
    });
    return v;
  }
  void assign(const std::vector<double>& v) {
    if (v.empty()) return;
    visit(t.dtype, [&]<class T>(Type<T>) {
      const Domain<1> domain{t.shape, {t.strides}};
      Walk<1> walk(domain, 0);
      for (double x : v) {
        data<T>(t)[walk.offset[0]] = from_double<T>(x);
        walk.next();
      }
    });
  }
  Scratch scratch;
  Tensor t;
};

enum Layout { row_major_layout, transposed, stepped, reversed };
constexpr Layout kLayouts[] = {row_major_layout, transposed, stepped, reversed};

// An uninitialised tensor of a layout.
Owned empty(Dtype dtype, const Shape& shape, Layout layout) {
  Shape wide = shape;
  if (layout == transposed) std::reverse(wide.begin(), wide.end());
  if (layout == stepped)
    for (auto& d : wide) d *= 2;
  Owned a(dtype, wide);
  if (layout == transposed) std::reverse(a.t.strides.begin(), a.t.strides.end());
  if (layout == stepped)
    for (auto& s : a.t.strides) s *= 2;
  if (layout == reversed && a.t.size() > 0)
    for (std::size_t i = 0; i < shape.size(); ++i) {
      a.t.data += (shape[i] - 1) * a.t.strides[i] * static_cast<std::int64_t>(size_of(dtype));
      a.t.strides[i] = -a.t.strides[i];
    }
  a.t.shape = shape;
  return a;
}

Owned filled(Dtype dtype, const Shape& shape, Layout layout, int low, int high) {
  Owned a = empty(dtype, shape, layout);
  std::vector<double> v(static_cast<std::size_t>(a.t.size()));
  std::uniform_int_distribution<int> pick(low, high);
  for (double& x : v) x = pick(rng);
  a.assign(v);
  return a;
}

template <class... Inputs>
void compute(const Primitive& p, const Owned& out, const Inputs&... inputs) {
  const std::array<Tensor, sizeof...(inputs)> tensors{inputs.t...};
  run(p, tensors, out.t);
}

const std::vector<Dtype> kAll = {bool_, uint8, uint16,  uint32,   uint64,  int8,    int16,
                                 int32, int64, float16, bfloat16, float32, float64, complex64};

}  // namespace

TEST_CASE("copies between all layouts") {
  for (Dtype dtype : kAll)
    for (const Shape& shape : {Shape{}, Shape{0, 3}, Shape{1}, Shape{5, 7}, Shape{65, 130},
                               Shape{2, 33, 70}, Shape{3, 1, 20, 9}, Shape{300, 300}})
      for (Layout from : kLayouts)
        for (Layout to : kLayouts) {
          const Owned a = filled(dtype, shape, from, 0, 100), b = empty(dtype, shape, to);
          copy(a.t, b.t);
          REQUIRE(a.values() == b.values());
        }
  Owned row = filled(float32, {1, 6}, row_major_layout, -9, 9), out(float32, {4, 6});
  row.t.shape[0] = 4;
  row.t.strides[0] = 0;
  compute(Contiguous(false), out, row);
  CHECK(row.values() == out.values());
}

TEST_CASE("concatenate") {
  for (Layout layout : kLayouts) {
    const Owned a = filled(int32, {3, 4}, layout, -9, 9), none(int32, {3, 0}),
                b = filled(int32, {3, 2}, layout, -9, 9), out(int32, {3, 6});
    compute(Concatenate(1), out, a, none, b);
    const auto x = a.values(), y = b.values(), z = out.values();
    for (std::size_t i = 0; i < 3; ++i)
      for (std::size_t j = 0; j < 6; ++j)
        CHECK(z[i * 6 + j] == (j < 4 ? x[i * 4 + j] : y[i * 2 + j - 4]));
  }
}

namespace {
double update(Update mode, double a, double b, Dtype dtype) {
  if (dtype == bool_ && mode == Update::add) return a || b;
  switch (mode) {
    case Update::set: return b;
    case Update::add: return a + b;
    case Update::multiply: return a * b;
    case Update::minimum: return std::min(a, b);
    default: return std::max(a, b);
  }
}
constexpr Update kModes[] = {Update::set, Update::add, Update::multiply, Update::minimum,
                             Update::maximum};
}  // namespace

TEST_CASE("gather along one and several axes") {
  for (Dtype dtype : {int8, float16, float32, complex64})
    for (Dtype index : {int32, uint32, int64, uint8})
      for (Layout layout : kLayouts)
        for (int axis : {0, 1, 2}) {
          const Owned a = filled(dtype, {4, 6, 40}, layout, 0, 99);
          const Owned i = filled(index, {3, 7}, layout, is_unsigned(index) ? 0 : -4, 3);
          Shape shape{3, 7};
          for (int k = 0; k < 3; ++k)
            if (k != axis) shape.push_back(a.t.shape[k]);
          const Owned out(dtype, shape);
          compute(Gather({axis}), out, a, i);
          const auto x = a.values(), at_index = i.values(), y = out.values();
          const std::int64_t size[] = {4, 6, 40};
          std::size_t at_out = 0;
          for (double raw : at_index)
            for (std::int64_t p = 0; p < (axis == 0 ? 6 : 4); ++p)
              for (std::int64_t q = 0; q < (axis == 2 ? 6 : 40); ++q) {
                const auto k = static_cast<std::int64_t>(raw < 0 ? raw + size[axis] : raw);
                const std::int64_t at_a = axis == 0   ? (k * 6 + p) * 40 + q
                                          : axis == 1 ? (p * 6 + k) * 40 + q
                                                      : (p * 6 + q) * 40 + k;
                REQUIRE(y[at_out++] == x[static_cast<std::size_t>(at_a)]);
              }
        }
  const Owned a = filled(float32, {50, 60}, transposed, 0, 99),
              i = filled(int32, {400}, row_major_layout, -50, 49),
              j = filled(int64, {400}, stepped, -60, 59), out(float32, {400});
  compute(Gather({0, 1}), out, a, i, j);
  const auto x = a.values(), ii = i.values(), jj = j.values(), y = out.values();
  for (std::size_t k = 0; k < 400; ++k) {
    const double r = ii[k] < 0 ? ii[k] + 50 : ii[k], c = jj[k] < 0 ? jj[k] + 60 : jj[k];
    CHECK(y[k] == x[static_cast<std::size_t>(r * 60 + c)]);
  }
  const Owned big = filled(float32, {3, 40000}, row_major_layout, 0, 99),
              two = filled(int32, {2}, row_major_layout, 1, 1), rows(float32, {2, 40000});
  compute(Gather({0}), rows, big, two);
  CHECK(std::equal(data<float>(rows.t), data<float>(rows.t) + 40000, data<float>(big.t) + 40000));
}

TEST_CASE("an index out of range raises IndexError that names what was asked") {
  Owned a = filled(float32, {4, 5}, row_major_layout, 0, 9), i(int32, {1}), out(float32, {1, 4}),
        u = filled(float32, {1, 4}, row_major_layout, 0, 9);
  for (int bad : {5, -6}) {
    i.assign({static_cast<double>(bad)});
    const std::string text =
        ": index " + std::to_string(bad) + " is out of range for axis 1 of size 5";
    CHECK_THROWS_WITH_AS(compute(Gather({1}), out, a, i), ("gather" + text).c_str(), IndexError);
    CHECK_THROWS_WITH_AS(compute(Scatter({1}, Update::add), a, a, u, i), ("scatter" + text).c_str(),
                         IndexError);
  }
}

TEST_CASE("scatter combines collisions in order, for any number of threads") {
  const int threads = get_num_threads();
  for (int n : {1, 2, 3}) {
    set_num_threads(n);
    for (Dtype dtype : kAll)
      for (Update mode : kModes)
        for (std::int64_t width : {1, 5, 300}) {
          const std::int64_t count = width == 300 ? 150 : 7;
          const int top = dtype == bool_ ? 1 : mode == Update::multiply ? 1 : 3;
          const Owned a = filled(dtype, {10, width}, row_major_layout, 0, top),
                      u = filled(dtype, {count, width}, stepped, 0, top),
                      i = filled(int32, {count}, row_major_layout, -10, 9), out(dtype, {10, width});
          auto expected = a.values();
          const auto index = i.values(), v = u.values();
          for (std::int64_t k = 0; k < count; ++k)
            for (std::int64_t c = 0; c < width; ++c) {
              const double raw = index[static_cast<std::size_t>(k)];
              double& x =
                  at(expected, static_cast<std::int64_t>(raw < 0 ? raw + 10 : raw) * width + c);
              x = update(mode, x, v[static_cast<std::size_t>(k * width + c)], dtype);
              if (dtype == int8) x = static_cast<std::int8_t>(static_cast<int>(x));
              if (dtype == uint8) x = static_cast<std::uint8_t>(static_cast<int>(x));
              if (dtype == bfloat16) x = to_float(to_bfloat16(static_cast<float>(x)));
            }
          compute(Scatter({0}, mode), out, a, u, i);
          REQUIRE(out.values() == expected);
        }
    const Owned a = filled(int32, {1000}, row_major_layout, 0, 9),
                u = filled(int32, {100000}, row_major_layout, -9, 9),
                i = filled(int64, {100000}, row_major_layout, 0, 999), out(int32, {1000});
    auto expected = a.values();
    const auto index = i.values(), v = u.values();
    for (std::size_t k = 0; k < index.size(); ++k)
      expected[static_cast<std::size_t>(index[k])] += v[k];
    compute(Scatter({0}, Update::add), out, a, u, i);
    CHECK(out.values() == expected);
  }
  set_num_threads(threads);
}

namespace {
// Where element (outer, j, inner) of a row-major array split at an axis is.
std::size_t place(const Split& s, std::int64_t o, std::int64_t j, std::int64_t i) {
  return static_cast<std::size_t>((o * s.n + j) * s.inner + i);
}
}  // namespace

TEST_CASE("argmax and argmin: first of equals, nan wins") {
  for (Dtype dtype : kAll)
    for (const Shape& shape :
         {Shape{1}, Shape{3000}, Shape{70000}, Shape{7, 33, 5}, Shape{4, 1, 300}, Shape{3, 64},
          Shape{2, 4097}, Shape{2, 300, 3}, Shape{2, 9, 1100}})
      for (Layout layout : kLayouts)
        for (int axis = 0; axis < static_cast<int>(shape.size()); ++axis)
          for (bool max : {true, false})
            for (bool with_nan : {false, true}) {
              if (with_nan && !is_floating(dtype)) continue;
              Owned a = filled(dtype, shape, layout, 0, dtype == bool_ ? 1 : 50);
              auto x = a.values();
              if (with_nan)
                for (std::size_t k = 2; k < x.size(); k += 13) x[k] = NAN;
              a.assign(x);
              Shape reduced = shape;
              reduced[axis] = 1;
              const Owned out(uint32, reduced);
              compute(ArgReduce(max, axis), out, a);
              const auto y = out.values();
              const Split s(shape, axis);
              for (std::int64_t o = 0; o < s.outer; ++o)
                for (std::int64_t i = 0; i < s.inner; ++i) {
                  std::int64_t best = 0;
                  for (std::int64_t j = 1; j < s.n; ++j) {
                    const double v = x[place(s, o, j, i)], b = x[place(s, o, best, i)];
                    if (!std::isnan(b) && (std::isnan(v) || (max ? v > b : v < b))) best = j;
                  }
                  REQUIRE(y[static_cast<std::size_t>(o * s.inner + i)] == best);
                }
            }
  CHECK_THROWS_AS(compute(ArgReduce(true, 1), Owned(uint32, {2, 1}), Owned(float32, {2, 0})),
                  std::invalid_argument);
}

TEST_CASE("scans") {
  for (Dtype dtype : {int32, uint8, float16, bfloat16, float32, float64, complex64})
    for (ScanOp op : {ScanOp::sum, ScanOp::prod, ScanOp::min, ScanOp::max, ScanOp::logaddexp})
      for (const Shape& shape : {Shape{1}, Shape{9}, Shape{6, 11, 3}, Shape{2, 300}})
        for (Layout layout : kLayouts)
          for (int axis = 0; axis < static_cast<int>(shape.size()); ++axis)
            for (int flags = 0; flags < 4; ++flags) {
              if (op == ScanOp::logaddexp && !is_inexact(dtype)) continue;
              const bool reverse = flags & 1, inclusive = flags & 2;
              const int top = op == ScanOp::prod ? 1 : shape.size() == 2 && dtype == uint8 ? 0 : 3;
              const Owned a = filled(dtype, shape, layout, 0, top), out(dtype, shape);
              compute(Scan(op, axis, reverse, inclusive), out, a);
              const auto x = a.values(), y = out.values();
              const Split s(shape, axis);
              for (std::int64_t o = 0; o < s.outer; ++o)
                for (std::int64_t i = 0; i < s.inner; ++i) {
                  double total = 0;
                  for (std::int64_t step = 0; step < s.n; ++step) {
                    const std::size_t k = place(s, o, reverse ? s.n - 1 - step : step, i);
                    const double before = total, v = x[k];
                    total = step == 0            ? v
                            : op == ScanOp::sum  ? total + v
                            : op == ScanOp::prod ? total * v
                            : op == ScanOp::min  ? std::min(total, v)
                            : op == ScanOp::max  ? std::max(total, v)
                                                 : std::log(std::exp(total) + std::exp(v));
                    if (inclusive || step > 0) {
                      const double want = inclusive ? total : before;
                      const double tolerance = dtype == bfloat16  ? 1e-2
                                               : dtype == float16 ? 1e-3
                                                                  : 1e-5;
                      REQUIRE(y[k] ==
                              doctest::Approx(want).epsilon(
                                  op == ScanOp::logaddexp || is_half(dtype) ? tolerance : 1e-12));
                    } else if (op == ScanOp::sum || op == ScanOp::prod) {
                      REQUIRE(y[k] == (op == ScanOp::prod));
                    }
                  }
                }
            }
}

TEST_CASE("a long scan gives the same bits on any number of threads") {
  const int threads = get_num_threads();
  Owned a(float32, {1000003});
  std::vector<double> x(1000003);
  std::normal_distribution<double> normal;
  for (double& v : x) v = normal(rng);
  a.assign(x);
  std::vector<double> first;
  for (int n : {1, 2, 5})
    for (bool reverse : {false, true}) {
      set_num_threads(n);
      const Owned out(float32, {1000003});
      compute(Scan(ScanOp::sum, 0, reverse, true), out, a);
      auto y = out.values();
      const double total = std::accumulate(x.begin(), x.end(), 0.0);
      CHECK(y[reverse ? 0 : x.size() - 1] == doctest::Approx(total).epsilon(1e-3));
      if (reverse) continue;
      if (first.empty()) first = y;
      CHECK(y == first);
    }
  set_num_threads(threads);
}

TEST_CASE("sort, argsort and partitions: stable, nan last") {
  for (Dtype dtype : kAll)
    for (const Shape& shape : {Shape{1}, Shape{0}, Shape{1000}, Shape{6, 250, 3}, Shape{3, 5}})
      for (Layout layout : kLayouts)
        for (int axis = 0; axis < static_cast<int>(shape.size()); ++axis) {
          const bool is_signed = is_signed_integer(dtype) || is_inexact(dtype);
          Owned a = filled(dtype, shape, layout, is_signed ? -40 : 0, dtype == bool_ ? 1 : 40);
          auto x = a.values();
          if (is_floating(dtype))
            for (std::size_t k = 1; k < x.size(); k += 11) x[k] = k % 2 ? NAN : -0.0;
          a.assign(x);
          const Split s(shape, axis);
          const std::int64_t kth = s.n / 3;
          const Owned sorted(dtype, shape), order(uint32, shape), part(dtype, shape),
              part_order(uint32, shape);
          compute(Sort(axis, false), sorted, a);
          compute(Sort(axis, true), order, a);
          compute(Sort(axis, false, kth), part, a);
          compute(Sort(axis, true, kth), part_order, a);
          const auto y = sorted.values(), i = order.values(), p = part.values(),
                     pi = part_order.values();
          auto before = [](double l, double r) {
            return l < r || (std::isnan(r) && !std::isnan(l));
          };
          auto same = [](double l, double r) { return l == r || (std::isnan(l) && std::isnan(r)); };
          for (std::int64_t o = 0; o < s.outer; ++o)
            for (std::int64_t c = 0; c < s.inner; ++c) {
              std::vector<std::int64_t> expected(static_cast<std::size_t>(s.n));
              std::iota(expected.begin(), expected.end(), 0);
              auto value = [&](std::int64_t j) { return x[place(s, o, j, c)]; };
              std::stable_sort(expected.begin(), expected.end(),
                               [&](auto l, auto r) { return before(value(l), value(r)); });
              for (std::int64_t j = 0; j < s.n; ++j) {
                const std::size_t k = place(s, o, j, c);
                const double want = value(expected[static_cast<std::size_t>(j)]);
                REQUIRE(i[k] == expected[static_cast<std::size_t>(j)]);
                REQUIRE(same(y[k], want));
                const double pivot = p[place(s, o, kth, c)];
                REQUIRE(!(j < kth ? before(pivot, p[k]) : before(p[k], pivot)));
                REQUIRE(same(p[place(s, o, kth, c)], y[place(s, o, kth, c)]));
                REQUIRE(same(value(static_cast<std::int64_t>(pi[place(s, o, kth, c)])), pivot));
              }
            }
        }
}

TEST_CASE("one huge row is sorted in parallel") {
  const int threads = get_num_threads();
  for (int n : {1, 2, 3, 8}) {
    set_num_threads(n);
    const Owned a = filled(float32, {300001}, row_major_layout, -1000, 1000),
                out(float32, {300001}), order(uint32, {300001});
    compute(Sort(0, false), out, a);
    compute(Sort(0, true), order, a);
    auto x = a.values();
    const auto i = order.values();
    for (std::size_t k = 1; k < x.size(); ++k) {
      const double l = x[static_cast<std::size_t>(i[k - 1])], r = x[static_cast<std::size_t>(i[k])];
      REQUIRE((l < r || (l == r && i[k - 1] < i[k])));
    }
    std::sort(x.begin(), x.end());
    CHECK(out.values() == x);
  }
  set_num_threads(threads);
}

TEST_CASE("matrix products of every dtype, layout and batch") {
  const auto matmul = the<Matmul>();
  for (Dtype dtype : kAll)
    for (auto [m, n, k] : {std::array{1, 1, 1},
                           {3, 4, 5},
                           {1, 70, 33},
                           {65, 1, 40},
                           {130, 90, 70},
                           {4, 3, 0},
                           {17, 600, 3}})
      for (Layout la : kLayouts)
        for (Layout lb : kLayouts)
          for (int batch : {0, 3}) {
            Shape sa{m, k}, sb{k, n}, so{m, n};
            if (batch) {
              for (Shape* s : {&sa, &sb, &so}) s->insert(s->begin(), batch);
            }
            const int top = dtype == bool_ ? 1 : 2;
            const Owned a = filled(dtype, sa, la, 0, top), out(dtype, so);
            Owned b = filled(dtype, sb, lb, 0, top);
            if (batch && la == row_major_layout) b.t.strides[0] = 0;  // one matrix for all
            compute(*matmul, out, a, b);
            const auto x = a.values(), y = b.values(), z = out.values();
            for (std::int64_t o = 0; o < std::max(batch, 1); ++o)
              for (std::int64_t i = 0; i < m; ++i)
                for (std::int64_t j = 0; j < n; ++j) {
                  double sum = 0;
                  for (std::int64_t p = 0; p < k; ++p)
                    sum += x[static_cast<std::size_t>((o * m + i) * k + p)] *
                           y[static_cast<std::size_t>((o * k + p) * n + j)];
                  if (dtype == bool_) sum = sum > 0;
                  if (dtype == int8) sum = static_cast<std::int8_t>(static_cast<int>(sum));
                  if (dtype == uint8) sum = static_cast<std::uint8_t>(static_cast<int>(sum));
                  REQUIRE(z[static_cast<std::size_t>((o * m + i) * n + j)] == sum);
                }
          }
}

TEST_CASE("complex products") {
  Owned a(complex64, {2, 30}), b(complex64, {30, 2}), out(complex64, {2, 2});
  for (int i = 0; i < 60; ++i) {
    data<complex64_t>(a.t)[i] = {static_cast<float>(i % 5), static_cast<float>(i % 3)};
    data<complex64_t>(b.t)[i] = {static_cast<float>(i % 7), static_cast<float>(-i % 4)};
  }
  compute(*the<Matmul>(), out, a, b);
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 2; ++j) {
      complex64_t sum{0, 0};
      for (int p = 0; p < 30; ++p)
        sum = Add()(
            sum, Multiply()(data<complex64_t>(a.t)[i * 30 + p], data<complex64_t>(b.t)[p * 2 + j]));
      CHECK(data<complex64_t>(out.t)[i * 2 + j].re == sum.re);
      CHECK(data<complex64_t>(out.t)[i * 2 + j].im == sum.im);
    }
}

TEST_CASE("halves widen in panels: sums longer than a panel keep float precision") {
  const Owned a = filled(bfloat16, {600, 5000}, row_major_layout, 0, 1),
              b = filled(bfloat16, {5000, 3}, transposed, 0, 1), out(bfloat16, {600, 3});
  compute(*the<Matmul>(), out, a, b);
  const auto x = a.values(), y = b.values(), z = out.values();
  for (std::size_t i = 0; i < 600; ++i)
    for (std::size_t j = 0; j < 3; ++j) {
      double sum = 0;
      for (std::size_t p = 0; p < 5000; ++p) sum += x[i * 5000 + p] * y[p * 3 + j];
      REQUIRE(z[i * 3 + j] == to_float(to_bfloat16(static_cast<float>(sum))));
    }
}

TEST_CASE("quantized products") {
  for (int bits : {2, 3, 4, 5, 6, 8})
    for (int group : {32, 64, 128})
      for (bool transpose : {true, false})
        for (Dtype dtype : {float32, float16, bfloat16})
          for (std::int64_t m : {1, 19})
            for (std::int64_t batch : {1, 2}) {
              const std::int64_t rows = 70, columns = 640;
              const std::int64_t n = transpose ? rows : columns, k = transpose ? columns : rows;
              const Owned x = filled(dtype, {batch, m, k}, stepped, -1, 1),
                          scales = filled(dtype, {batch, rows, columns / group}, transposed, 1, 2),
                          biases = filled(dtype, {batch, rows, columns / group}, row_major_layout,
                                          -2, 2);
              const Owned w(uint32, {batch, rows, columns * bits / 32}), out(dtype, {batch, m, n});
              for (std::int64_t i = 0; i < w.t.size(); ++i)
                data<std::uint32_t>(w.t)[i] = static_cast<std::uint32_t>(rng());
              compute(QuantizedMatmul({QuantizationMode::affine, bits, group, transpose}), out, x,
                      w, scales, biases);
              const auto xs = x.values(), s = scales.values(), b = biases.values(),
                         y = out.values();
              auto weight = [&](std::int64_t o, std::int64_t r, std::int64_t c) {
                std::uint32_t q = 0;
                const auto* row = data<std::uint32_t>(w.t) + (o * rows + r) * (columns * bits / 32);
                for (int bit = 0; bit < bits; ++bit) {
                  const std::int64_t p = c * bits + bit;
                  q |= (row[p / 32] >> (p % 32) & 1) << bit;
                }
                const auto g =
                    static_cast<std::size_t>((o * rows + r) * (columns / group) + c / group);
                return s[g] * q + b[g];
              };
              for (std::int64_t o = 0; o < batch; ++o)
                for (std::int64_t j = 0; j < n; j += 7)
                  for (std::int64_t i = 0; i < m; i += 6) {
                    double sum = 0;
                    for (std::int64_t p = 0; p < k; ++p)
                      sum += xs[static_cast<std::size_t>((o * m + i) * k + p)] *
                             (transpose ? weight(o, j, p) : weight(o, p, j));
                    const double rounding = dtype == float32 ? 0 : dtype == float16 ? 1e-3 : 8e-3;
                    REQUIRE(std::abs(y[static_cast<std::size_t>((o * m + i) * n + j)] - sum) <=
                            rounding * std::abs(sum));
                  }
            }
}

TEST_CASE("random bits follow the stream's definition at every width and length") {
  auto threefry = [](std::uint32_t k0, std::uint32_t k1, std::uint32_t x, std::uint32_t y) {
    const int r[] = {13, 15, 26, 6, 17, 29, 16, 24};
    const std::uint32_t keys[] = {k0, k1, k0 ^ k1 ^ 0x1bd11bdau};
    x += keys[0];
    y += keys[1];
    for (std::uint32_t i = 0; i < 20; ++i) {
      x += y;
      y = (y << r[i % 8] | y >> (32 - r[i % 8])) ^ x;
      if (i % 4 == 3) {
        x += keys[(i / 4 + 1) % 3];
        y += keys[(i / 4 + 2) % 3] + i / 4 + 1;
      }
    }
    return std::pair{x, y};
  };
  // Salmon et al.'s known answers.
  CHECK(threefry(0, 0, 0, 0) == std::pair{0x6b200159u, 0x99ba4efeu});
  CHECK(threefry(0x13198a2e, 0x03707344, 0x243f6a88, 0x85a308d3) ==
        std::pair{0xc4923a9cu, 0x483df7a0u});
  Owned keys(uint32, {2, 3, 2});
  for (int i = 0; i < 12; ++i) data<std::uint32_t>(keys.t)[i] = static_cast<std::uint32_t>(rng());
  for (Dtype dtype : {uint8, uint16, uint32, uint64})
    for (std::int64_t n : {1, 2, 3, 4, 5, 7, 8, 9, 30011}) {
      const Owned out(dtype, {2, 3, n});
      compute(*the<RandomBits>(), out, keys);
      const auto bytes = n * static_cast<std::int64_t>(size_of(dtype));
      const std::int64_t words = (bytes + 3) / 4, half = (words + 1) / 2;
      for (int row = 0; row < 6; ++row) {
        std::vector<std::uint32_t> stream(static_cast<std::size_t>(2 * half));
        for (std::int64_t i = 0; i < half; ++i) {
          const bool alone = half + i >= words;
          const auto* key = data<std::uint32_t>(keys.t) + 2 * row;
          std::tie(stream[static_cast<std::size_t>(i)],
                   stream[static_cast<std::size_t>(half + i)]) =
              threefry(key[0], key[1], static_cast<std::uint32_t>(i),
                       alone ? 0 : static_cast<std::uint32_t>(half + i));
        }
        REQUIRE(std::memcmp(stream.data(), out.t.data + row * bytes,
                            static_cast<std::size_t>(bytes)) == 0);
      }
    }
}

TEST_CASE("arange") {
  const Owned i(int64, {100000}), f(float32, {5}), h(float16, {3});
  compute(Arange(-5, 3), i);
  CHECK(data<std::int64_t>(i.t)[99999] == 299992);
  compute(Arange(1, 0.1), f);
  CHECK(data<float>(f.t)[4] == 1.4f);
  compute(Arange(0, -0.5), h);
  CHECK(h.values() == std::vector<double>{0, -0.5, -1});
}

TEST_CASE("parallel_for covers every piece once, from several threads, nested") {
  std::vector<std::thread> users;
  std::atomic<int> wrong{0};
  for (int u = 0; u < 8; ++u)
    users.emplace_back([&] {
      for (int round = 0; round < 200; ++round) {
        std::vector<int> seen(1000);
        parallel_for(1000, 7, [&](std::int64_t b, std::int64_t e) {
          if (thread_index() < 0 || thread_index() >= get_num_threads()) ++wrong;
          if (b % 7 || e - b > 7) ++wrong;
          parallel_for(e - b, 2, [&](std::int64_t bb, std::int64_t ee) {
            for (; bb < ee; ++bb) ++seen[static_cast<std::size_t>(b + bb)];
          });
        });
        for (int s : seen) wrong += s != 1;
      }
    });
  for (auto& t : users) t.join();
  CHECK(wrong == 0);
}

TEST_CASE("an exception or an interrupt stops a loop and reaches its caller") {
  for (int round = 0; round < 100; ++round)
    CHECK_THROWS_AS(parallel_for(1000, 1,
                                 [](std::int64_t b, std::int64_t) {
                                   if (b == 500) throw IndexError("here");
                                 }),
                    IndexError);
  std::thread([] {
    set_interrupt_check([] { return true; });
    CHECK_THROWS_AS(parallel_for(100, 1, [](std::int64_t, std::int64_t) {}), Interrupted);
    set_interrupt_check(nullptr);
    parallel_for(100, 1, [](std::int64_t, std::int64_t) {});
  }).join();
}

TEST_CASE("a forked child makes a pool of its own") {
  std::atomic<int> pieces{0};
  auto loop = [&] { parallel_for(64, 1, [&](std::int64_t, std::int64_t) { ++pieces; }); };
  loop();
  const pid_t child = fork();
  if (child == 0) {
    loop();
    _exit(pieces == 128 ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  CHECK(status == 0);
}

TEST_CASE("threads are counted from one") {
  CHECK_THROWS_AS(set_num_threads(0), std::invalid_argument);
}
