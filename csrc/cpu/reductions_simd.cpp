// The loops of reductions, in the one order that all have: element i of a block goes to lane i mod
// 64, a lane combines in ascending order, and lanes fold halves onto halves. Sources S other than
// the type T that is combined are converted on the way: 16-bit floats, and numbers to be squared.
#include "cpu/convert.h"
#include "cpu/loop.h"

namespace cermet::cpu::CERMET_ISA {

template <class T>
struct Squared {
  T x;
};
template <class T>
void widen(const Squared<T>* in, T* out, std::int64_t n) {
  CERMET_VECTORIZE
  for (std::int64_t i = 0; i < n; ++i) out[i] = multiply(in[i].x, in[i].x);
}

namespace {

template <Op op>
struct Function {};
#define CERMET_REDUCTION(name) \
  template <>                  \
  struct Function<Op::name> {  \
    template <class T>         \
    static T apply(T x, T y) { \
      return T(name(x, y));    \
    }                          \
  };
CERMET_REDUCTION(add)
CERMET_REDUCTION(multiply)
CERMET_REDUCTION(logical_and)
CERMET_REDUCTION(logical_or)
#undef CERMET_REDUCTION
// As maximum() and minimum(), but where bits choose, a chain of them vectorizes.
#define CERMET_EXTREME(name, compare)                                                             \
  template <>                                                                                     \
  struct Function<Op::name> {                                                                     \
    template <class T>                                                                            \
    static T apply(T x, T y) {                                                                    \
      if constexpr (std::is_floating_point_v<T>) {                                                \
        using Bits = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;              \
        const Bits nan = -Bits(x != x);                                                           \
        const T extreme = x compare y ? x : y;                                                    \
        return __builtin_bit_cast(                                                                \
            T, (__builtin_bit_cast(Bits, x) & nan) | (__builtin_bit_cast(Bits, extreme) & ~nan)); \
      } else {                                                                                    \
        return name(x, y);                                                                        \
      }                                                                                           \
    }                                                                                             \
  };
CERMET_EXTREME(maximum, >)
CERMET_EXTREME(minimum, <)
#undef CERMET_EXTREME

// y[i] = from[i] combined with `count` rows, ascending.
template <class F, class T, int count>
void combine_rows(T* y, const T* from, const T* x, std::int64_t stride, std::int64_t n) {
  CERMET_VECTORIZE
  for (std::int64_t i = 0; i < n; ++i) {
    T row[count];
#pragma GCC unroll 8
    for (int r = 0; r < count; ++r) row[r] = x[r * stride + i];
    T value = from[i];
#pragma GCC unroll 8
    for (int r = 0; r < count; ++r) value = F::apply(value, row[r]);
    y[i] = value;
  }
}

inline constexpr std::int64_t kFew = 8;  // rows that fold at once
template <class T>
inline constexpr std::int64_t kStrip = 2048 / sizeof(T);  // sixteen fit the first-level cache

// Several rows in each pass, so that the partial results are read and written once for all.
template <class F, class T>
void combine(T* y, const T* x, std::int64_t stride, std::int64_t rows, std::int64_t n, bool first) {
  const T* from = y;
  if (first) {
    from = x;
    x += stride;
    if (--rows == 0)
      for (std::int64_t i = 0; i < n; ++i) y[i] = from[i];
  }
  const auto step = [&]<int count>(std::integral_constant<int, count>) {
    combine_rows<F, T, count>(y, from, x, stride, n);
    x += count * stride;
    rows -= count;
    from = y;
  };
  while (rows >= 7) step(std::integral_constant<int, 7>{});
  while (rows >= 3) step(std::integral_constant<int, 3>{});
  while (rows >= 1) step(std::integral_constant<int, 1>{});
}

template <class F, class T, class S>
  requires(!std::is_same_v<S, T>)
void combine(T* y, const S* x, std::int64_t stride, std::int64_t rows, std::int64_t n, bool first) {
  alignas(64) T wide[kFew][kStrip<T>];
  for (; n > 0; n -= kStrip<T>, x += kStrip<T>, y += kStrip<T>) {
    const std::int64_t width = n < kStrip<T> ? n : kStrip<T>;
    for (std::int64_t r = 0; r < rows; r += kFew) {
      const std::int64_t count = rows - r < kFew ? rows - r : kFew;
      for (std::int64_t k = 0; k < count; ++k) widen(x + (r + k) * stride, wide[k], width);
      combine<F>(y, wide[0], kStrip<T>, count, width, first && r == 0);
    }
  }
}

template <class F, class T, class S>
void column_loop(void* out, const void* in, std::int64_t stride, std::int64_t rows, std::int64_t n,
                 bool first) {
  combine<F>(static_cast<T*>(out), static_cast<const S*>(in), stride, rows, n, first);
}

// Folds up to kFew rows of up to kStrip elements. Gives the result, which is in y or the only row.
template <class F, class T>
const T* fold_few(T* y, const T* (&row)[kFew], std::int64_t count, std::int64_t n) {
  if (count == kFew) {
    CERMET_VECTORIZE
    for (std::int64_t i = 0; i < n; ++i) {
      T lane[kFew];
#pragma GCC unroll 8
      for (int l = 0; l < kFew; ++l) lane[l] = row[l][i];
#pragma GCC unroll 8
      for (int l = 0; l < 4; ++l) lane[l] = F::apply(lane[l], lane[l + 4]);
      lane[0] = F::apply(lane[0], lane[2]);
      lane[1] = F::apply(lane[1], lane[3]);
      y[i] = F::apply(lane[0], lane[1]);
    }
    return y;
  }
  alignas(64) T partial[kFew / 2][kStrip<T>];
  for (std::int64_t w = kFew / 2; w > 0; w /= 2) {
    for (std::int64_t l = 0; l < w && l + w < count; ++l) {
      T* to = w == 1 ? y : partial[l];
      combine_rows<F, T, 1>(to, row[l], row[l + w], 0, n);
      row[l] = to;
    }
    count = count < w ? count : w;
  }
  return row[0];
}

// Reduces rows to one, dealt to a multiple of kFew lanes. Of these kFew are taken at a time, as far
// apart as they can be: they fold with each other.
template <class F, class T, class S>
void reduce_rows(T* out, const S* in, std::int64_t stride, std::int64_t steps, std::int64_t n,
                 std::int64_t all_lanes) {
  alignas(64) T sums[kFew][kStrip<T>], folds[kFew][kStrip<T>];
  const std::int64_t lanes = steps < all_lanes ? steps : all_lanes, groups = all_lanes / kFew;
  for (std::int64_t first = 0; first < n; first += kStrip<T>) {
    const std::int64_t width = n - first < kStrip<T> ? n - first : kStrip<T>;
    const T* folded[kFew];
    for (std::int64_t l = 0; l < groups && l < lanes; ++l) {
      const T* row[kFew] = {};
      std::int64_t count = 0;
      for (std::int64_t lane = l; lane < lanes; lane += groups, ++count) {
        const S* x = in + lane * stride + first;
        const std::int64_t rows = (steps - lane + all_lanes - 1) / all_lanes;
        if constexpr (std::is_same_v<S, T>) row[count] = x;
        if (!std::is_same_v<S, T> || rows > 1) {
          T* sum = count ? sums[count] : folds[l];
          combine<F>(sum, x, all_lanes * stride, rows, width, true);
          row[count] = sum;
        }
      }
      folded[l] = fold_few<F>(folds[l], row, count, width);
    }
    T* y = out + first;
    const T* result = fold_few<F>(y, folded, lanes < groups ? lanes : groups, width);
    for (std::int64_t i = 0; result != y && i < width; ++i) y[i] = result[i];
  }
}

template <class F, class T, class S>
void block_loop(void* out, const void* in, std::int64_t stride, std::int64_t steps,
                std::int64_t n) {
  auto* y = static_cast<T*>(out);
  const auto* x = static_cast<const S*>(in);
  if (stride == n && n < kStrip<T> && steps > kLanes && steps % kFew == 0) {
    // Adjacent rows are read kFew at a time, as memory likes long runs.
    alignas(64) T lanes[kFew * kStrip<T>];
    reduce_rows<F>(lanes, x, kFew * n, steps / kFew, kFew * n, kLanes / kFew);
    reduce_rows<F>(y, lanes, n, kFew, n, kFew);
  } else {
    reduce_rows<F>(y, x, stride, steps, n, kLanes);
  }
}

// Folds 2 * width lanes.
template <class F, int width, class T>
T fold(T* lanes) {
  for (int l = 0; l < width; ++l) lanes[l] = F::apply(lanes[l], lanes[l + width]);
  if constexpr (width == 1)
    return lanes[0];
  else
    return fold<F, width / 2>(lanes);
}

// A row of more than `width` and up to 2 * width elements, one a lane.
template <class F, int width, class T>
T fold_row(const T* x, int n) {
  T lanes[width];
  if constexpr (width <= 8) {  // in registers
#pragma GCC unroll 8
    for (int l = 0; l < width; ++l) lanes[l] = l + width < n ? F::apply(x[l], x[l + width]) : x[l];
  } else {
    for (int l = 0; l < n - width; ++l) lanes[l] = F::apply(x[l], x[l + width]);
    for (int l = n - width; l < width; ++l) lanes[l] = x[l];
  }
  if constexpr (width == 1)
    return lanes[0];
  else
    return fold<F, width / 2>(lanes);
}

template <class F, int width, class T>
void fold_rows(T* y, const T* x, std::int64_t rows, std::int64_t n) {
  for (std::int64_t r = 0; r < rows; ++r) y[r] = fold_row<F, width>(x + r * n, static_cast<int>(n));
}

template <class F, class T>
void row_loop(void* out, const void* in, std::int64_t rows, std::int64_t n) {
  const auto* x = static_cast<const T*>(in);
  auto* y = static_cast<T*>(out);
  if (n == 1)
    for (std::int64_t r = 0; r < rows; ++r) y[r] = x[r];
  else if (n <= 2)
    fold_rows<F, 1>(y, x, rows, n);
  else if (n <= 4)
    fold_rows<F, 2>(y, x, rows, n);
  else if (n <= 8)
    fold_rows<F, 4>(y, x, rows, n);
  else if (n <= 16)
    fold_rows<F, 8>(y, x, rows, n);
  else if (n <= 32)
    fold_rows<F, 16>(y, x, rows, n);
  else if (n < kLanes)
    fold_rows<F, 32>(y, x, rows, n);
  else
    for (std::int64_t r = 0; r < rows; ++r, x += n) {
      alignas(64) T lanes[kLanes];
      combine<F>(lanes, x, kLanes, n / kLanes, kLanes, true);
      combine<F>(lanes, x + n / kLanes * kLanes, 0, 1, n % kLanes, false);
      y[r] = fold<F, kLanes / 2>(lanes);
    }
}

// A block at most, converted first.
template <class F, class T, class S>
void converted_row_loop(void* out, const void* in, std::int64_t rows, std::int64_t n) {
  alignas(64) T wide[kBlock];
  for (std::int64_t r = 0; r < rows; ++r) {
    widen(static_cast<const S*>(in) + r * n, wide, n);
    row_loop<F, T>(static_cast<T*>(out) + r, wide, 1, n);
  }
}

template <class F, class T, class S = T>
void fill(Loops& table, int op) {
  constexpr int t = static_cast<int>(dtype_of<S>);
  if constexpr (std::is_same_v<S, T>)
    table.reduce_rows[op][t] = row_loop<F, T>;
  else
    table.reduce_rows[op][t] = converted_row_loop<F, T, S>;
  table.reduce_columns[op][t] = column_loop<F, T, S>;
  table.reduce_block[op][t] = block_loop<F, T, S>;
}

template <Op op, Rule rule>
void fill(Loops& table) {
  using F = Function<op>;
  constexpr int o = static_cast<int>(op);
  for_types<rule>([&]<class T>(Type<T>) { fill<F, T>(table, o); });
  if constexpr (rule == Rule::same)
    fill<F, float, float16_t>(table, o), fill<F, float, bfloat16_t>(table, o);
}

template <class T>
void fill_squares(Loops& table) {
  using F = Function<Op::add>;
  using S = Squared<T>;
  table.squares[static_cast<int>(dtype_of<T>)] = {converted_row_loop<F, T, S>, column_loop<F, T, S>,
                                                  block_loop<F, T, S>};
}

}  // namespace

void fill_reductions(Loops& table) {
  fill<Op::add, Rule::same>(table);
  fill<Op::multiply, Rule::same>(table);
  fill<Op::maximum, Rule::same>(table);
  fill<Op::minimum, Rule::same>(table);
  fill<Op::logical_and, Rule::logical>(table);
  fill<Op::logical_or, Rule::logical>(table);
  fill_squares<float>(table);
  fill_squares<double>(table);
}

}  // namespace cermet::cpu::CERMET_ISA
