// Integer powers and divisions: free of the language's rules, and never recorded but called.

// Wrapping. A negative power of 1 or -1 is that of its magnitude; of any other number, 0.
template <typename T>
inline T power(T a, T b) {
  bool negative = b < T(0);
  if (negative && a != T(1) && a != T(-1)) return T(0);
  u64 base = u64(a), result = 1;
  for (u64 n = negative ? u64(b) & 1 : u64(b); n != 0; n >>= 1, base *= base) {
    if ((n & 1) != 0) result *= base;
  }
  return T(result);
}

// Towards minus infinity; the remainder has the divisor's sign. By 0 both are 0; the lowest integer
// by -1 wraps, where a division would trap.
template <typename T>
inline T floor_divide(T a, T b) {
  bool minus_one = b < T(0) && b == T(-1);
  T d = b == T(0) || minus_one ? T(1) : b;
  T q = T(a / d);
  q = T(q - T(a % d != 0 && (a < T(0)) != (d < T(0))));
  return b == T(0) ? T(0) : minus_one ? negative(a) : q;
}
template <typename T>
inline T remainder(T a, T b) {
  bool trivial = b == T(0) || (b < T(0) && b == T(-1));
  T d = trivial ? T(1) : b;
  T r = T(a % d);
  return r != T(0) && (r < T(0)) != (d < T(0)) ? T(r + d) : r;
}
