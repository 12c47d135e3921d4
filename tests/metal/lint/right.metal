// Unusual, but accepted. A case begins with its name between dashes; before each stand the include
// of the standard library and its namespace.

// ---- every_way_to_write_a_kernel ----
kernel void a(device float* x [[buffer(0)]]) { x[0] = 1; }
[[kernel]] void b(device float* x) { x[0] = 1; }
[[kernel, max_total_threads_per_threadgroup(256)]] void c(device float& x [[buffer(30)]]) { x = 1; }
[[host_name("named")]] kernel void d(device float* x [[buffer(0)]]) { x[0] = 1; }
template <typename T, int n>
[[kernel]] void e(device T* x [[buffer(0)]]) { x[0] = T(n); }
template [[host_name("e_float")]] [[kernel]] void e<float, 1>(device float*);
template [[host_name("e_int")]] [[kernel]] decltype(e<int, 2>) e<int, 2>;

// ---- every_argument ----
struct Arguments {
  uint n;
  float scale;
};
kernel void k(device const float* in [[buffer(0)]], device atomic_uint& count [[buffer(1)]],
              constant Arguments& arguments [[buffer(2)]], constant uint* list [[buffer(3)]],
              threadgroup float* shared [[threadgroup(0)]], uint3 at [[thread_position_in_grid]],
              uint3 grid [[threads_per_grid]], ushort lane [[thread_index_in_simdgroup]],
              uint index [[thread_index_in_threadgroup]],
              uint3 size [[threads_per_threadgroup]]) {
  shared[index] = in[at.x] * arguments.scale * list[0];
  if (lane == 0 && grid.x > size.x) atomic_fetch_add_explicit(&count, 1u, memory_order_relaxed);
}

// ---- vectors_in_structs ----
struct Place {
  uint3 group;
};
inline uint3 group_of(thread const Place& place) {
  const uint3 group = place.group;
  return group;
}
kernel void k(device uint* x [[buffer(0)]], uint3 at [[threadgroup_position_in_grid]]) {
  const Place place = {at};
  x[0] = group_of(place).y;
}

// ---- function_constants ----
constant bool has_bias [[function_constant(0)]];
constant int unroll [[function_constant(1)]];
constant int twice = unroll * 2;
constant bool wide = is_function_constant_defined(unroll) && unroll > 2;
kernel void k(device float* a [[buffer(0)]],
              device const float* bias [[buffer(1), function_constant(has_bias)]]) {
  a[0] = wide ? twice : 0;
  if (has_bias) a[0] += bias[0];
}

// ---- program_scope_constants ----
constant float table[4] = {1, 2, 3, 4};
constant constexpr uint size = 4;
constexpr constant float half_pi = M_PI_F / 2;
template <typename T>
constant constexpr int bits = 8 * sizeof(T);
struct Tile {
  static constant constexpr int rows = 8;
};
enum Mode : uint { first_mode, second_mode = 3 };
kernel void k(device float* a [[buffer(0)]]) {
  float here[size] = {0, 0, 0, 0};
  a[0] = table[Tile::rows % size] + half_pi + bits<ushort> + here[1] + second_mode;
}

// ---- recursion_in_types ----
template <typename T>
T widest(T x) {
  if constexpr (sizeof(T) < sizeof(long))
    return static_cast<T>(widest<long>(static_cast<long>(x)));
  else
    return x;
}
template <int n>
int factorial() {
  if constexpr (n > 1)
    return n * factorial<n - 1>();
  else
    return 1;
}
kernel void k(device int* a [[buffer(0)]]) { a[0] = widest(a[0]) + factorial<5>(); }

// ---- overloads_by_address_space ----
float first(device const float* p) { return p[0]; }
float first(threadgroup const float* p) { return p[0]; }
float first(constant float* p) { return p[0]; }
float first(thread const float* p) { return p[0]; }
kernel void k(device float* a [[buffer(0)]], constant float* c [[buffer(1)]]) {
  threadgroup float s[2];
  float t[2] = {1, 2};
  s[0] = first(c);
  a[0] = first(a) + first(s) + first(t);
}

// ---- methods_in_address_spaces ----
struct Complex {
  float re, im;
  float norm() const thread { return re * re + im * im; }
  float norm() const device { return re * re + im * im; }
  float norm() const constant { return re * re + im * im; }
};
kernel void k(device Complex* a [[buffer(0)]], constant Complex& c [[buffer(1)]]) {
  Complex local = {1, 2};
  a[0].re = local.norm() + a[0].norm() + c.norm();
}

// ---- inheritance_without_virtual ----
struct Base {
  float x;
  float get() const thread { return x; }
};
struct Derived : Base {
  float y;
};
kernel void k(device float* a [[buffer(0)]]) {
  Derived d;
  d.x = 1;
  d.y = 2;
  a[0] = d.get() + d.y;
}

// ---- pointers_and_references ----
typedef device float* Pointer;
using Values = threadgroup const float*;
struct View {
  device float* data;
  thread float& operator[](int i) const thread;
};
template <typename P>
auto sum(P a, P b) {
  return a[0] + b[0];
}
template <typename T>
T second(const thread T (&values)[2]) {
  return values[1];
}
kernel void k(device float* a [[buffer(0)]], device float* device* list [[buffer(1)]]) {
  const View view = {a};
  const device auto& x = a[1];
  Pointer p = a + 2;
  auto q = a + 3;
  device float(&four)[4] = *reinterpret_cast<device float(*)[4]>(a);
  float local[2] = {1, 2};
  a[0] = sum(q, p) + sum(&local[0], &local[1]) + x + list[0][0] + view.data[0] + four[1] +
         second(local);
}

// ---- vectors ----
kernel void k(device float4* a [[buffer(0)]], device packed_float3* p [[buffer(1)]]) {
  float4 v = float4(1, float2(2, 3), 4), w{1, 2, 3, 4};
  const half3 h = half3(v.xyz);
  v.zw = w.rg;
  v[2] += float(h.y);
  v = select(v, w, v > w);
  if (any(v == w) && all(isfinite(v))) v = fma(v, w, float4(0.5f));
  p[0] = packed_float3(v.bgr);
  const bool3 both = p[0].x > 1 ? bool3(true) : bool3(false);
  a[0] = both.x ? v : w.wzyx;
}

// ---- bfloat ----
kernel void k(device bfloat* a [[buffer(0)]], device const float* b [[buffer(1)]]) {
  const float wide = a[0];
  a[0] = bfloat(b[0] + wide);
  a[1] = static_cast<bfloat>(half(b[1]));
  a[2] = a[0] + a[1];
  a[3] = as_type<bfloat>(as_type<ushort>(a[4]));
}

// ---- simdgroups ----
kernel void k(device float* a [[buffer(0)]], uint lane [[thread_index_in_simdgroup]]) {
  const float2 pair = simd_shuffle_xor(float2(a[lane], 1), 1);
  const ushort bits = simd_or(ushort(lane));
  const simd_vote votes = simd_ballot(lane < 4);
  simdgroup_matrix<half, 8, 8> x = make_filled_simdgroup_matrix<half, 8, 8>(half(1));
  simdgroup_float8x8 m;
  simdgroup_load(m, a, 8);
  simdgroup_multiply_accumulate(m, x, x, m);
  simdgroup_store(m, a, 8, ulong2(0, 0), true);
  a[lane] = simd_sum(pair.x) + bits + simd_prefix_exclusive_sum(1.0f) + quad_max(pair.y);
  if (votes.any()) a[0] = m.thread_elements()[0];
}

// ---- atomics ----
kernel void k(device atomic_float* a [[buffer(0)]], device atomic_ulong* b [[buffer(1)]],
              device atomic<int>* c [[buffer(2)]]) {
  threadgroup atomic_uint count;
  atomic_store_explicit(&count, 0u, memory_order_relaxed);
  threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
  atomic_fetch_add_explicit(a, 1.0f, memory_order_relaxed);
  atomic_max_explicit(b, 5ul, memory_order_relaxed);
  int expected = 1;
  atomic_compare_exchange_weak_explicit(c, &expected, 2, memory_order_relaxed,
                                        memory_order_relaxed);
  atomic_fetch_xor_explicit(&count, 1u, memory_order_relaxed);
}

// ---- control_flow ----
kernel void k(device int* a [[buffer(0)]]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    switch (a[i]) {
      case 0: a[i] = 1; [[fallthrough]];
      case 1: continue;
      default: break;
    }
    do {
      a[i] /= 2;
    } while (a[i] > 0);
  }
  if (int x = a[0]; x > 0) a[1] = x;
}

// ---- preprocessor ----
#if __METAL_VERSION__ >= 310
#define SCALE(x) ((x) * 2)
#else
#include <cmath>
#endif
#define INSTANCE(type) \
  template [[host_name("k_" #type)]] [[kernel]] decltype(k<type>) k<type>;
template <typename T>
[[kernel]] void k(device T* a [[buffer(0)]]) { a[0] = SCALE(a[0]); }
INSTANCE(float)
INSTANCE(ushort)

// ---- names_of_opencl ----
kernel void k(device float* global [[buffer(0)]]) {
  float local = 1;
  const float pipe = local + 1;
  global[0] = pipe;
}

// ---- threadgroup_memory_full ----
template <typename T>
[[kernel]] void k(device T* a [[buffer(0)]]) {
  threadgroup T s[32768 / sizeof(T)];
  {
    typedef ushort Word;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    a[0] = T(Word(s[0]));
  }
}
template [[host_name("k")]] [[kernel]] decltype(k<float>) k<float>;

// ---- classes ----
namespace inner {
template <typename T, int n = 4>
class Stack {
 public:
  Stack() thread : count_(0) {}
  explicit Stack(T x) thread : count_(1) { values_[0] = x; }
  void push(T x) thread { values_[count_++] = x; }
  T pop() thread { return values_[--count_]; }
  template <typename U>
  operator U() const thread { return U(count_); }

 private:
  T values_[n];
  int count_;
};
template <typename... Ts>
float total(Ts... values) {
  return (0.0f + ... + float(values));
}
}  // namespace inner
kernel void k(device float* a [[buffer(0)]]) {
  inner::Stack<float> stack(a[0]);
  stack.push(a[1]);
  a[2] = stack.pop() + int(stack) + inner::total(1, 2.0f, half(3));
}

// ---- casts_between_vectors ----
kernel void k(device float4* a [[buffer(0)]]) {
  const half4 h = (half4)a[0];
  a[1] = (float4)h * 2 + float4((half4)a[2]);
  a[3] = -(float4)h.wzyx;
}

// ---- casts_in_templates ----
template <typename T4, typename U4>
T4 to(U4 x) {
  const T4 y = (T4)x;
  return (T4)(y + (T4)1) + T4(x);
}
kernel void k(device float4* a [[buffer(0)]], device half4* b [[buffer(1)]]) {
  a[0] = to<float4>(b[0]);
  b[0] = to<half4, float4>(a[0]);
}

// ---- constructor_of_a_pointed_to_vector ----
kernel void k(device float4* a [[buffer(0)]]) {
  device const half4* p = (device const half4*)a;
  a[0] = float4(*p) + float4(*reinterpret_cast<device const half4*>(&a[1]));
}

// ---- lists_for_vectors ----
kernel void k(device float4* a [[buffer(0)]]) {
  float4 x = {1, 2, 3, 4}, y = {0}, z{5, 6, 7, 8};
  x = {y.x, z.y, 1, 2};
  a[0] = x;
}

// ---- lists_in_templates ----
template <typename T>
struct Triple {
  using type = vec<T, 3>;
};
template <typename T>
T f(T x) {
  using V = typename Triple<T>::type;
  const V v = {x, x + 1, x + 2};
  return v.x + v.z;
}
kernel void k(device float* a [[buffer(0)]]) {
  a[0] = f(a[0]) + f(int(a[1]));
}

// ---- vectors_without_namespace ----
kernel void k(device ::float4* a [[buffer(0)]], uint3 at [[thread_position_in_grid]]) {
  a[at.x] = float4(packed_float3(1), 2);
}

// ---- function_template_arguments ----
float twice(float x) { return x * 2; }
template <float (*f)(float), typename T>
T apply(T x) {
  return f(x);
}
template <typename T, void (*load)(device const T*, short, thread float4&)>
[[kernel]] void k(device const T* a [[buffer(0)]], device float* b [[buffer(1)]]) {
  float4 x;
  load(a, 1, x);
  b[0] = apply<twice>(x.x);
}
template <typename V>
void load_half(device const half* p, short i, thread V& x) {
  x = (V)p[i];
}
typedef decltype(k<half, load_half>) kernel_type;
template [[host_name("k_half")]] [[kernel]] kernel_type k<half, load_half>;

// ---- function_template_argument_by_reference ----
template <int (&f)(int)>
int apply(int x) {
  return f(x);
}
int next(int x) { return x + 1; }
kernel void k(device float* a [[buffer(0)]]) {
  a[0] = apply<next>(int(a[1]));
}

// ---- kernels_of_one_name ----
template <typename T>
[[kernel]] void k(device T* a [[buffer(0)]]) { a[0] = T(1); }
template <typename T>
[[kernel]] void k(device T* a [[buffer(0)]], constant T& x [[buffer(1)]]) { a[0] = x; }
template [[host_name("one")]] [[kernel]] void k<float>(device float*);
template [[host_name("two")]] [[kernel]] void k<float>(device float*, constant float&);

// ---- kernel_after_void ----
template <typename T>
void kernel k(device T* a [[buffer(0)]]) {
  a[0] = T(1);
}
template [[host_name("k_int")]] void kernel k<int>(device int*);

// ---- expressions_in_attributes ----
#define FIRST 40
constant bool x [[function_constant(FIRST + 2)]];
constant int y [[function_constant((FIRST - 4) * 2 / 3)]];
kernel void k(device float* a [[buffer(2 * 3 + 1)]], constant int& n [[buffer(FIRST - 39)]]) {
  a[0] = x ? y : n;
}

// ---- scalars_of_greater_rank ----
kernel void k(device half4* a [[buffer(0)]], constant float* c [[buffer(1)]]) {
  half4 h = a[0] * c[0];
  h *= c[1];
  h = c[2] + h - c[3];
  a[1] = h / 2.0f;
}

// ---- filled_matrix_by_its_columns ----
kernel void k(device half* a [[buffer(0)]]) {
  simdgroup_half8x8 m = make_filled_simdgroup_matrix<half, 8>(half(0.5h));
  simdgroup_store(m, a, 8);
}

// ---- vectors_of_bool ----
template <typename T, int N>
vec<T, N> positive(vec<T, N> x) {
  const vec<bool, N> is = x > T(0);
  return select(vec<T, N>(0), x, is);
}
kernel void k(device float3* a [[buffer(0)]]) {
  a[0] = positive<float, 3>(a[0]);
  const vec<bool, 2> both = vec<bool, 2>(a[0].x > 1, true);
  if (all(both) || any(!both)) a[1] = a[0];
}

// ---- type_traits ----
struct Empty {};
template <typename T, typename = void>
struct has_type : false_type {};
template <typename T>
struct has_type<T, void_t<typename T::type>> : true_type {};
kernel void k(device float* a [[buffer(0)]]) {
  static_assert(is_empty_v<Empty> && is_empty<Empty>::value, "");
  static_assert(!has_type<Empty>::value && is_void_v<void> && !is_same_v<int, uint>, "");
  a[0] = conditional_t<is_floating_point_v<float>, float, int>(1.5f);
}

// ---- array_parameters ----
void fill(float x[4], float y) {
  for (int i = 0; i < 4; ++i) x[i] = y;
}
template <typename T>
T first(T x[2], T y) {
  return x[0] + y;
}
kernel void k(device float* a [[buffer(0)]]) {
  float x[4];
  fill(x, a[0]);
  a[1] = first(x, 1.0f);
}

// ---- numeric_limits ----
kernel void k(device float* a [[buffer(0)]]) {
  a[0] = numeric_limits<float>::infinity() - numeric_limits<float>::lowest();
  a[1] = numeric_limits<int>::max() + numeric_limits<half>::epsilon();
}

// ---- limits_of_a_type_of_ones_own ----
template <typename T>
struct Indexed {
  uint i;
  T value;
};
namespace metal {
template <typename T>
struct _numeric_limits_impl<Indexed<T>> {
  static constexpr METAL_FUNC Indexed<T> lowest() {
    return Indexed<T>{0, numeric_limits<T>::lowest()};
  }
};
}  // namespace metal
kernel void k(device float* a [[buffer(0)]]) {
  const auto low = numeric_limits<Indexed<float>>::lowest();
  a[0] = low.value;
}

// ---- structs_in_constant_memory ----
struct Limits {
  int low[2];
  float scale;
};
constant Limits kLimits = {{1, 2}, 0.5f};
float scaled(Limits l, float x) { return x * l.scale + l.low[1]; }
kernel void k(device float* a [[buffer(0)]]) {
  Limits l;
  l = kLimits;
  const Limits copy = kLimits;
  a[0] = scaled(kLimits, a[1]) + l.low[0] + copy.scale + kLimits.low[1];
}

// ---- default_constructors_in_every_space ----
struct State {
  uint value;
  State() thread = default;
  State() threadgroup = default;
  State() device = default;
  State() constant = default;
};
kernel void k(device float* a [[buffer(0)]]) {
  State s;
  s.value = 3;
  a[0] = s.value;
}

// ---- assertions ----
kernel void k(device float* a [[buffer(0)]]) {
  assert(a[0] > 0 && "positive");
  a[0] = 1;
}

// ---- integers_of_pointers ----
kernel void k(device float* a [[buffer(0)]]) {
  const uintptr_t at = reinterpret_cast<uintptr_t>(a);
  device float* b = reinterpret_cast<device float*>(at + 4);
  b[0] = ptrdiff_t(1);
}

// ---- macro_in_unroll ----
#define LEAST(x, y) ((x) < (y) ? (x) : (y))
kernel void k(device float* a [[buffer(0)]]) {
#pragma unroll(LEAST(4, 8))
  for (int i = 0; i < 4; ++i) a[i] = i;
#pragma clang loop unroll(full)
  for (int i = 0; i < 4; ++i) a[i] += i;
}

// ---- operators_of_structs ----
struct Fixed {
  int x;
  Fixed operator+(Fixed b) const thread { return {x + b.x}; }
  thread Fixed& operator+=(Fixed b) thread {
    x += b.x;
    return *this;
  }
  bool operator<(Fixed b) const thread { return x < b.x; }
  explicit operator float() const thread { return float(x) / 16; }
};
kernel void k(device float* a [[buffer(0)]]) {
  Fixed x = {16}, y = {32};
  x += y;
  if (x < y + y) a[0] = float(x);
}

// ---- methods_without_a_space ----
struct Sum {
  float total;
  void add(float x) { total += x; }
  float get() const { return total; }
};
kernel void k(device float* a [[buffer(0)]]) {
  Sum s = {0};
  for (int i = 0; i < 4; ++i) s.add(a[i]);
  a[0] = s.get();
}

// ---- functors_as_template_arguments ----
struct Add {
  float operator()(float x, float y) const thread { return x + y; }
};
template <typename Op>
float fold(device const float* a, int n) {
  float r = a[0];
  for (int i = 1; i < n; ++i) r = Op()(r, a[i]);
  return r;
}
kernel void k(device float* a [[buffer(0)]]) {
  a[0] = fold<Add>(a, 4);
}

// ---- partial_specialisation ----
template <typename T, bool half_width>
struct Wide {
  using type = T;
};
template <typename T>
struct Wide<T, true> {
  using type = half;
};
kernel void k(device float* a [[buffer(0)]]) {
  typename Wide<float, true>::type x = half(a[0]);
  a[1] = x;
}

// ---- variable_templates ----
template <typename T>
constant constexpr T pi = T(3.14159265f);
template <int n>
constant constexpr int square = n * n;
kernel void k(device float* a [[buffer(0)]]) {
  a[0] = pi<float> + square<3> + float(pi<half>);
}

// ---- alias_templates ----
template <typename T>
using Quad = vec<T, 4>;
template <typename T>
using Space = device T*;
kernel void k(device float* a [[buffer(0)]]) {
  Space<float> p = a + 4;
  Quad<float> x = Quad<float>(p[0], 1, 2, 3);
  a[0] = dot(x, x);
}

// ---- enumerations ----
enum class Kind : uchar { none, some = 4 };
enum { first, second };
kernel void k(device float* a [[buffer(0)]]) {
  Kind kind = a[0] > 0 ? Kind::some : Kind::none;
  a[0] = float(uchar(kind)) + second;
  switch (kind) {
    case Kind::none: a[1] = 0; break;
    case Kind::some: a[1] = 1; break;
  }
}

// ---- unions ----
union Word {
  uint bits;
  float value;
};
kernel void k(device float* a [[buffer(0)]]) {
  Word w;
  w.value = a[0];
  w.bits &= 0x7fffffffu;
  a[0] = w.value;
}

// ---- bit_fields ----
struct Packed {
  uint low : 4;
  uint high : 4;
};
kernel void k(device float* a [[buffer(0)]]) {
  Packed p;
  p.low = 3;
  p.high = 5;
  a[0] = p.low + p.high;
}

// ---- nested_namespaces ----
namespace outer {
namespace inner {
constant int n = 3;
METAL_FUNC float f(float x) { return x * n; }
}  // namespace inner
using inner::f;
}  // namespace outer
kernel void k(device float* a [[buffer(0)]]) {
  a[0] = outer::f(a[0]) + outer::inner::n;
}

// ---- literals ----
kernel void k(device float* a [[buffer(0)]]) {
  a[0] = 1'000 + 0x1p-3f + 0b101 + .5f + 1e-3f + 2.h + 0x7fu + 'a' + 1.5;
}

// ---- half_arithmetic ----
kernel void k(device float* a [[buffer(0)]]) {
  half x = half(a[0]), y = 0.5h;
  x += y * 2;
  x = fma(x, y, half(1)) + max(x, y) - clamp(x, half(0), half(1));
  a[0] = x;
}

// ---- scalars_with_vectors_in_functions ----
kernel void k(device float4* a [[buffer(0)]]) {
  float4 x = a[0];
  x = max(0.0f, x) + min(x, 1.0f) + fmin(2.0f, x) + clamp(x, 0.0f, 1.0f) + pow(x, 2.0f);
  a[0] = mix(x, x.wzyx, 0.5f) + step(0.5f, x);
}

// ---- matrices ----
kernel void k(device float* a [[buffer(0)]]) {
  float4x4 m = float4x4(1.0f);
  m[2][1] = 3;
  half4x4 h = half4x4(m);
  const float3x2 n = float3x2(float2(1), float2(2), float2(3));
  a[0] = (m * float4(1))[0] + h[0][0] + (transpose(n) * float2(1, 2)).y + determinant(float2x2(1.0f));
}

// ---- swizzles_written ----
kernel void k(device float4* a [[buffer(0)]]) {
  float4 v = a[0];
  v.xz = v.yw;
  v.rgb = float3(1, 2, 3);
  v.wx += float2(1);
  a[0] = v.xxyy.zwzw;
}

// ---- packed_vectors ----
kernel void k(device packed_float3* p [[buffer(0)]], device packed_half4* q [[buffer(1)]]) {
  const packed_float3 x = p[0];
  p[1] = float3(x) * 2;
  p[2].y = x[1] + 1;
  q[0] = packed_half4(half4(1));
  p[3] = x * 2.0f + float3(q[0].xyz);
}

// ---- threadgroup_arguments_and_arrays ----
kernel void k(device float* a [[buffer(0)]], threadgroup float4* s [[threadgroup(1)]],
              uint t [[thread_index_in_threadgroup]]) {
  threadgroup float rows[4][8], columns[8];
  threadgroup float(*row)[8] = rows + 1;
  (*row)[t % 8] = a[t];
  columns[t % 8] = rows[1][0];
  s[t] = float4(columns[0]);
}

// ---- simdgroup_functions ----
kernel void k(device uint* a [[buffer(0)]], uint lane [[thread_index_in_simdgroup]]) {
  const uint x = a[lane];
  a[lane] = simd_shuffle_and_fill_up(x, 7u, 1) + simd_broadcast_first(x) + simd_prefix_inclusive_product(x) +
            simd_shuffle_rotate_down(x, 3) + quad_broadcast(x, 2) + simd_xor(x) + uint(simd_is_first());
  if (simd_all(x > 0)) a[0] = uint(ulong(simd_active_threads_mask()));
}

// ---- integer_functions ----
kernel void k(device uint* a [[buffer(0)]]) {
  a[0] = popcount(a[1]) + clz(a[2]) + ctz(a[3]) + reverse_bits(a[4]) + mulhi(a[5], a[6]);
  a[1] = extract_bits(a[7], 3, 4) + insert_bits(a[8], 1u, 2, 3) + rotate(a[9], 5u) + absdiff(a[1], a[2]);
  a[2] = addsat(a[3], a[4]) + hadd(a[5], a[6]) + mad24(a[7], a[8], a[9]) + abs(int(a[3]));
}

// ---- fast_and_precise ----
kernel void k(device float* a [[buffer(0)]]) {
  a[0] = fast::exp(a[0]) + precise::sin(a[1]) + fast::max(a[2], a[3]) + metal::precise::tanh(a[4]);
}

// ---- three_dimensional_positions ----
kernel void k(device float* a [[buffer(0)]], ushort3 at [[thread_position_in_grid]],
              ushort3 size [[threads_per_grid]], uint3 group [[threadgroup_position_in_grid]],
              uint3 groups [[threadgroups_per_grid]]) {
  a[at.x + size.x * at.y] = group.z * groups.x;
}

// ---- unnumbered_arguments ----
struct Sizes {
  uint n, m;
};
kernel void k(device const float* a, constant Sizes& sizes, device float* b,
              uint i [[thread_position_in_grid]]) {
  if (i < sizes.n) b[i] = a[i];
}

// ---- comma_and_conditional_expressions ----
kernel void k(device float* a [[buffer(0)]]) {
  int i, j;
  for (i = 0, j = 4; i < j; ++i, --j) a[i] = i > 2 ? a[j] : i ? 1.0f : 0.0f;
}

// ---- compile_time_loops ----
template <int n>
struct Unrolled {
  static METAL_FUNC float sum(device const float* a) { return a[n - 1] + Unrolled<n - 1>::sum(a); }
};
template <>
struct Unrolled<0> {
  static METAL_FUNC float sum(device const float*) { return 0; }
};
kernel void k(device float* a [[buffer(0)]]) {
  a[0] = Unrolled<4>::sum(a);
}

// ---- arrays_of_arrays ----
kernel void k(device float* a [[buffer(0)]]) {
  const float table[2][3] = {{1, 2, 3}, {4, 5, 6}};
  array<float, 3> row = {{7, 8, 9}};
  a[0] = table[1][2] + row[1] + row.size();
}

// ---- bfloat_conversions_written_out ----
kernel void k(device float* a [[buffer(0)]], device bfloat* b [[buffer(1)]]) {
  bfloat x = bfloat(1.5f);
  x = (bfloat)a[0];
  x += bfloat(2.0f);
  b[0] = x * x;
  a[1] = b[0] * 2.0f + float(x);
}

// ---- simd_types ----
#include <simd/simd.h>
struct Arguments {
  vector_float4 scale;
  simd_uint2 size;
  matrix_float4x4 m;
};
kernel void k(device float* a [[buffer(0)]], constant Arguments& c [[buffer(1)]]) {
  a[0] = (c.m * c.scale).x + c.size.y;
}
