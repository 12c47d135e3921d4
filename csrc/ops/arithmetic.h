// Arithmetic, comparison and bits, of every type T of number. Integers wrap. Of bools the sum is
// `or`, the difference `exclusive or` and the product `and`.

template <typename T>
inline T add(T a, T b) {
  return T(wide<T>(a) + wide<T>(b));
}
template <typename T>
inline T subtract(T a, T b) {
  return T(wide<T>(a) - wide<T>(b));
}
template <typename T>
inline T multiply(T a, T b) {
  return T(wide<T>(a) * wide<T>(b));
}
template <typename T>
inline T negative(T a) {
  return T(-wide<T>(a));
}
inline b32 add(b32 a, b32 b) { return a | b; }
inline b32 subtract(b32 a, b32 b) { return a ^ b; }
inline b32 multiply(b32 a, b32 b) { return a & b; }
template <typename T>
inline T square(T a) {
  return multiply(a, a);
}
template <typename T>
inline T divide(T a, T b) {
  return a / b;
}

// The magnitude; that of the lowest integer wraps to itself.
template <typename T>
inline T abs(T x) {
  return select(x < T(0), negative(x), x);
}
template <typename T>
inline T sign(T x) {
  return select(x > T(0), T(1), select(x < T(0), T(-1), T(x + T(0))));  // not -0
}
// A nan wins.
template <typename T>
inline T maximum(T a, T b) {
  return select((a > b) | (a != a), a, b);
}
template <typename T>
inline T minimum(T a, T b) {
  return select((a < b) | (a != a), a, b);
}

template <typename T>
inline T imag(T) {
  return T(0);
}

// ---- conditions --------------------------------------------------------------------------------

template <typename T>
inline b32 equal(T a, T b) {
  return a == b;
}
template <typename T>
inline b32 not_equal(T a, T b) {
  return a != b;
}
template <typename T>
inline b32 less(T a, T b) {
  return a < b;
}
template <typename T>
inline b32 less_equal(T a, T b) {
  return a <= b;
}
template <typename T>
inline b32 greater(T a, T b) {
  return a > b;
}
template <typename T>
inline b32 greater_equal(T a, T b) {
  return a >= b;
}

template <typename T>
inline b32 isnan(T x) {
  return x != x;
}
template <typename T>
inline b32 isinf(T) {
  return false;
}
template <typename T>
inline b32 isfinite(T) {
  return true;
}
inline b32 isinf(f32 x) { return abs(x) == kInf; }
inline b32 isfinite(f32 x) { return abs(x) < kInf; }

inline b32 logical_not(b32 a) { return !a; }
inline b32 logical_and(b32 a, b32 b) { return a & b; }
inline b32 logical_or(b32 a, b32 b) { return a | b; }
inline b32 logical_xor(b32 a, b32 b) { return a ^ b; }

// ---- bits --------------------------------------------------------------------------------------

template <typename T>
inline T bitwise_invert(T x) {
  return T(~x);
}
inline b32 bitwise_invert(b32 x) { return !x; }
template <typename T>
inline T bitwise_and(T a, T b) {
  return T(a & b);
}
template <typename T>
inline T bitwise_or(T a, T b) {
  return T(a | b);
}
template <typename T>
inline T bitwise_xor(T a, T b) {
  return T(a ^ b);
}
// A count outside the width shifts everything out.
template <typename T>
inline T left_shift(T a, T b) {
  b32 inside = wide<T>(b) < width<T>;
  return select(inside, T(wide<T>(a) << wide<T>(select(inside, b, T(0)))), T(0));
}
template <typename T>
inline T right_shift(T a, T b) {
  b32 inside = wide<T>(b) < width<T>, keeps_sign = T(-1) < T(0);
  T shifted = T(a >> select(inside, b, T(width<T> - 1)));
  return select(inside | keeps_sign, shifted, T(0));
}
