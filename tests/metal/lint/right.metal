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
