// What Metal rejects. A case begins with its name between dashes; `error` marks each line that must
// be reported, with words of the message. Before each case stand the include of the standard
// library and its namespace.

// ---- pointer_parameter_without_space ----
float f(float* p) { return p[0]; }  // error: address space

// ---- reference_parameter_without_space ----
float f(float& x) { return x; }  // error: address space

// ---- local_pointer_without_space ----
kernel void k(device float* a [[buffer(0)]]) {
  float* p = a;  // error: address space
  p[0] = 1;
}

// ---- field_without_space ----
struct View {
  float* data;  // error: address space
};

// ---- alias_without_space ----
using Pointer = const float*;  // error: address space

// ---- result_without_space ----
float* f(device float* p) { return nullptr; }  // error: address space

// ---- template_pointer_without_space ----
template <typename T>
T first(T* p) {  // error: address space
  return p[0];
}

// ---- cast_without_space ----
kernel void k(device int* a [[buffer(0)]]) {
  a[0] = *(int*)a;  // error: address space
}

// ---- array_of_pointers_without_space ----
kernel void k(device float* a [[buffer(0)]]) {
  float* both[2] = {a, a + 1};  // error: address space
  both[0][0] = 1;
}

// ---- string_without_space ----
void f() {
  const char* text = "text";  // error:
}

// ---- device_as_threadgroup ----
float f(threadgroup float* p) { return p[0]; }
kernel void k(device float* a [[buffer(0)]]) {
  a[0] = f(a);  // error: no matching function
}

// ---- threadgroup_as_device ----
float f(device float* p) { return p[0]; }
kernel void k(device float* a [[buffer(0)]]) {
  threadgroup float s[4];
  a[0] = f(s);  // error: no matching function
}

// ---- constant_as_device ----
float f(device const float* p) { return p[0]; }
kernel void k(constant float* c [[buffer(0)]], device float* a [[buffer(1)]]) {
  a[0] = f(c);  // error: no matching function
}

// ---- thread_as_device ----
float f(device float* p) { return p[0]; }
kernel void k(device float* a [[buffer(0)]]) {
  float x = 1;
  a[0] = f(&x);  // error: no matching function
}

// ---- reference_to_other_space ----
void f(thread float& x) { x = 1; }
kernel void k(device float* a [[buffer(0)]]) {
  f(a[0]);  // error: no matching function
}

// ---- cast_between_spaces ----
kernel void k(device float* a [[buffer(0)]]) {
  threadgroup float s[4];
  threadgroup float* p = (threadgroup float*)a;  // error:
  p[0] = s[0];
}

// ---- reinterpret_cast_between_spaces ----
kernel void k(constant float* c [[buffer(0)]], device float* a [[buffer(1)]]) {
  a[0] = reinterpret_cast<device const float*>(c)[1];  // error: reinterpret_cast
}

// ---- write_to_constant ----
kernel void k(constant float* c [[buffer(0)]]) {
  c[0] = 1;  // error: read-only
}

// ---- write_to_const_device ----
kernel void k(device const float* c [[buffer(0)]]) {
  c[0] = 1;  // error: read-only
}

// ---- const_dropped ----
kernel void k(device const float* c [[buffer(0)]]) {
  device float* p = c;  // error:
  p[0] = 1;
}

// ---- method_of_device_object ----
struct S {
  float x;
  float get() const { return x; }
};
kernel void k(device S* s [[buffer(0)]], device float* o [[buffer(1)]]) {
  o[0] = s->get();  // error: object parameter
}

// ---- local_in_device_space ----
kernel void k(device float* a [[buffer(0)]]) {
  device float x = 1;  // error:
  a[0] = x;
}

// ---- double ----
kernel void k(device float* a [[buffer(0)]]) {
  double x = a[0];  // error: double
  a[0] = float(x);
}

// ---- long_double ----
kernel void k(device float* a [[buffer(0)]]) {
  long double x = 1;  // error: double
  a[0] = float(x);
}

// ---- long_long ----
kernel void k(device long* a [[buffer(0)]]) {
  long long x = a[0];  // error: long long
  a[0] = x;
}

// ---- wide_vector ----
kernel void k(device float* a [[buffer(0)]]) {
  float8 x = 1;  // error: float8
  a[0] = x[0];
}

// ---- recursion ----
float f(int n) {
  return n > 0 ? f(n - 1) : 0.0f;  // error: recursion
}

// ---- mutual_recursion ----
float g(int n);
float f(int n) {
  return n > 0 ? g(n - 1) : 0.0f;  // error: recursion
}
float g(int n) {
  return f(n);
}

// ---- template_recursion ----
template <typename T>
T f(T n) {
  return n > T(0) ? f<T>(n - T(1)) : T(0);  // error: recursion
}
kernel void k(device float* a [[buffer(0)]]) { a[0] = f(a[0]); }

// ---- method_recursion ----
struct S {
  int depth(int n) const thread {
    return n > 0 ? depth(n - 1) : 0;  // error: recursion
  }
};

// ---- throw ----
float f(int n) {
  if (n > 0) throw 1;  // error: exceptions
  return 0;
}

// ---- try ----
float f(int n) {
  try {  // error: exceptions
    return 1;
  } catch (int) {
  }
  return 0;
}

// ---- new ----
float f() {
  thread float* p = new float(1);  // error: new
  return p[0];
}

// ---- delete ----
void f(thread float* p) {
  delete p;  // error: delete
}

// ---- virtual_method ----
struct S {
  virtual float f() const { return 1; }  // error: virtual
};

// ---- dynamic_cast ----
struct A {};
struct B : A {};
void f(thread A* a) {
  thread B* b = dynamic_cast<thread B*>(a);  // error: dynamic_cast
}

// ---- typeid ----
bool f(int x) {
  return typeid(x) == typeid(int);  // error: type
}

// ---- goto ----
kernel void k(device float* a [[buffer(0)]]) {
  if (a[0] > 0) goto end;  // error: goto
  a[0] = 1;
end:
  a[1] = 2;
}

// ---- lambda ----
kernel void k(device float* a [[buffer(0)]]) {
  auto twice = [](float x) { return x * 2; };  // error: lambda
  a[0] = twice(a[0]);
}

// ---- function_pointer ----
float g(float x) { return x; }
float f(float x) {
  float (*p)(float) = g;  // error: pointers to functions
  return p(x);
}

// ---- member_pointer ----
struct S {
  float x;
};
float f(S s) {
  float S::*member = &S::x;  // error: members
  return s.*member;
}

// ---- variadic_function ----
float sum(int count, ...) { return 0; }  // error: variadic

// ---- inline_assembly ----
void f() {
  asm("nop");  // error: asm
}

// ---- thread_local ----
thread_local int counter;  // error: thread_local

// ---- register ----
float f(float x) {
  register float y = x;  // error: register
  return y;
}

// ---- static_local ----
float f() {
  static int n = 0;  // error: constant memory
  return n;
}

// ---- mutable_global ----
int counter = 0;  // error: constant memory
kernel void k(device int* a [[buffer(0)]]) { a[0] = counter; }

// ---- constexpr_global_without_constant ----
constexpr int size = 4;  // error: constant memory
kernel void k(device int* a [[buffer(0)]]) { a[0] = size; }

// ---- static_member_without_constant ----
struct S {
  static constexpr int size = 4;  // error: constant memory
};

// ---- global_in_device_memory ----
device float scratch[4];  // error: constant memory

// ---- constant_without_value ----
constant float x;  // error:

// ---- constant_computed_at_run_time ----
float f() { return 1; }
constant float x = f();  // error:

// ---- variable_length_array ----
kernel void k(device float* a [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  float x[i];  // error: array size
  a[0] = x[0];
}

// ---- missing_return ----
float f(float x) {
  if (x > 0) return 1;
}  // error: return

// ---- uninitialised_variable ----
kernel void k(device float* a [[buffer(0)]]) {
  float x;
  a[0] = x;  // error: uninitialized
}

// ---- standard_library ----
kernel void k(device float* a [[buffer(0)]]) {
  a[0] = std::sqrt(a[0]);  // error: std
}

// ---- standard_header ----
#include <cmath>  // error: cmath
kernel void k(device float* a [[buffer(0)]]) { a[0] = 1; }

// ---- unknown_metal_header ----
#include <metal_tasks>  // error: metal_tasks
kernel void k(device float* a [[buffer(0)]]) { a[0] = 1; }

// ---- missing_header ----
#include "no_such_file.h"  // error: no_such_file.h
kernel void k(device float* a [[buffer(0)]]) { a[0] = 1; }

// ---- printf ----
kernel void k(device float* a [[buffer(0)]]) {
  printf("%f", a[0]);  // error: printf
}

// ---- opencl_function ----
kernel void k(device float* a [[buffer(0)]]) {
  a[get_global_id(0)] = 1;  // error: get_global_id
}

// ---- opencl_word ----
kernel void k(__global float* a [[buffer(0)]]) {  // error: __global
  a[0] = 1;
}

// ---- opencl_vector_literal ----
kernel void k(device float2* a [[buffer(0)]]) {
  a[0] = (float2)(1, 2);  // error: vector literal
}

// ---- opencl_component ----
kernel void k(device float4* a [[buffer(0)]]) {
  a[0].xy = a[0].hi;  // error: component hi
}

// ---- missing_component ----
kernel void k(device float2* a [[buffer(0)]]) {
  a[0].x = a[0].z;  // error: component
}

// ---- mixed_components ----
kernel void k(device float4* a [[buffer(0)]]) {
  a[0].xy = a[0].xg;  // error:
}

// ---- repeated_component_written ----
kernel void k(device float4* a [[buffer(0)]]) {
  a[0].xx = float2(1, 2);  // error:
}

// ---- vector_sizes ----
kernel void k(device float4* a [[buffer(0)]]) {
  float3 x = a[0];  // error: vec<float, 3>
  a[1].xyz = x;
}

// ---- vector_elements ----
kernel void k(device float4* a [[buffer(0)]], device int4* b [[buffer(1)]]) {
  float4 x = b[0];  // error: vec<float, 4>
  a[0] = x;
}

// ---- too_few_vector_elements ----
kernel void k(device float4* a [[buffer(0)]]) {
  a[0] = float4(1, 2, 3);  // error: number of elements
}

// ---- vector_condition ----
kernel void k(device float4* a [[buffer(0)]]) {
  a[0] = a[0] > a[1] ? a[0] : a[1];  // error: scalar condition
}

// ---- float_to_bfloat ----
kernel void k(device float* a [[buffer(0)]], device bfloat* b [[buffer(1)]]) {
  b[0] = a[0];  // error: bfloat
}

// ---- half_to_bfloat ----
kernel void k(device half* a [[buffer(0)]], device bfloat* b [[buffer(1)]]) {
  b[0] = a[0];  // error: bfloat
}

// ---- bfloat_to_half ----
kernel void k(device half* a [[buffer(0)]], device bfloat* b [[buffer(1)]]) {
  a[0] = b[0];  // error: bfloat
}

// ---- bfloat_in_template ----
template <typename T>
[[kernel]] void k(device T* a [[buffer(0)]]) {
  a[0] = exp(float(a[0]));  // error: bfloat
}
template [[host_name("k_bfloat")]] [[kernel]] decltype(k<bfloat>) k<bfloat>;

// ---- as_type_of_other_size ----
kernel void k(device float* a [[buffer(0)]]) {
  a[0] = as_type<float>(ushort(1));  // error: same size
}

// ---- shuffle_of_long ----
kernel void k(device long* a [[buffer(0)]]) {
  a[0] = simd_shuffle(a[0], 3);  // error: simdgroup functions take
}

// ---- sum_of_bfloat ----
kernel void k(device bfloat* a [[buffer(0)]]) {
  a[0] = simd_sum(a[0]);  // error: simdgroup functions take
}

// ---- shuffle_of_bool ----
kernel void k(device bool* a [[buffer(0)]]) {
  a[0] = simd_shuffle_xor(a[0], 1);  // error: simdgroup functions take
}

// ---- shuffle_of_struct ----
struct Pair {
  float x, y;
};
kernel void k(device float* a [[buffer(0)]]) {
  Pair p = {a[0], a[1]};
  a[0] = simd_shuffle_down(p, 1).x;  // error:
}

// ---- bitwise_simd_of_float ----
kernel void k(device float* a [[buffer(0)]]) {
  a[0] = simd_or(a[0]);  // error:
}

// ---- simdgroup_matrix_of_int ----
kernel void k(device int* a [[buffer(0)]]) {
  simdgroup_matrix<int, 8, 8> m;  // error: simdgroup_matrix
  simdgroup_load(m, a);
}

// ---- simdgroup_matrix_of_other_size ----
kernel void k(device float* a [[buffer(0)]]) {
  simdgroup_matrix<float, 16, 16> m;  // error:
}

// ---- atomic_on_plain_memory ----
kernel void k(device uint* a [[buffer(0)]]) {
  atomic_fetch_add_explicit(a, 1u, memory_order_relaxed);  // error: no matching function
}

// ---- atomic_float_max ----
kernel void k(device atomic_float* a [[buffer(0)]]) {
  atomic_fetch_max_explicit(a, 1.0f, memory_order_relaxed);  // error: atomic_fetch_max_explicit
}

// ---- atomic_float_in_threadgroup_memory ----
kernel void k(device float* a [[buffer(0)]]) {
  threadgroup atomic_float sum;
  atomic_fetch_add_explicit(&sum, 1.0f, memory_order_relaxed);  // error: atomic_fetch_add_explicit
}

// ---- atomic_ulong_add ----
kernel void k(device atomic_ulong* a [[buffer(0)]]) {
  atomic_fetch_add_explicit(a, 1ul, memory_order_relaxed);  // error: no variant
}

// ---- atomic_ulong_load ----
kernel void k(device atomic_ulong* a [[buffer(0)]], device ulong* b [[buffer(1)]]) {
  b[0] = atomic_load_explicit(a, memory_order_relaxed);  // error: atomic_ulong
}

// ---- atomic_max_without_result ----
kernel void k(device atomic_ulong* a [[buffer(0)]], device ulong* b [[buffer(1)]]) {
  b[0] = atomic_max_explicit(a, 1ul, memory_order_relaxed);  // error: void
}

// ---- atomic_long ----
kernel void k(device atomic<long>* a [[buffer(0)]]) {
  atomic_store_explicit(a, 1l, memory_order_relaxed);  // error: atomic types are
}

// ---- atomic_assignment ----
kernel void k(device atomic_uint* a [[buffer(0)]]) {
  a[0] = 1u;  // error:
}

// ---- strong_memory_order ----
kernel void k(device atomic_uint* a [[buffer(0)]]) {
  atomic_fetch_add_explicit(a, 1u, memory_order_seq_cst);  // error: memory_order_seq_cst
}

// ---- kernel_result ----
kernel float k(device float* a [[buffer(0)]]) { return a[0]; }  // error: must return void

// ---- kernel_called ----
kernel void f(device float* a [[buffer(0)]]) { a[0] = 1; }
kernel void k(device float* a [[buffer(0)]]) {
  f(a);  // error: a kernel cannot be called
}

// ---- scalar_parameter_without_attribute ----
kernel void k(device float* a [[buffer(0)]],
              uint n) {  // error: needs an attribute
  a[0] = n;
}

// ---- struct_parameter_by_value ----
struct Arguments {
  uint n;
};
kernel void k(device float* a [[buffer(0)]],
              Arguments arguments [[buffer(1)]]) {  // error: needs an attribute
  a[0] = arguments.n;
}

// ---- thread_parameter ----
kernel void k(thread float* a [[buffer(0)]]) {  // error: device or constant memory
  a[0] = 1;
}

// ---- parameter_without_space ----
kernel void k(float* a [[buffer(0)]]) {  // error: device or constant memory
  a[0] = 1;
}

// ---- constant_scalar_parameter ----
kernel void k(device float* a [[buffer(0)]],
              constant uint n [[buffer(1)]]) {  // error: pointer or reference
  a[0] = n;
}

// ---- buffer_31 ----
kernel void k(device float* a [[buffer(31)]]) { a[0] = 1; }  // error: slots 0 to 30

// ---- threadgroup_31 ----
kernel void k(device float* a [[buffer(0)]],
              threadgroup float* s [[threadgroup(31)]]) {  // error: slots 0 to 30
  a[0] = s[0];
}

// ---- buffer_twice ----
kernel void k(device float* a [[buffer(0)]],
              device float* b [[buffer(0)]]) {  // error: a second buffer(0)
  a[0] = b[0];
}

// ---- threadgroup_twice ----
kernel void k(device float* a [[buffer(0)]], threadgroup float* s [[threadgroup(0)]],
              threadgroup float* t [[threadgroup(0)]]) {  // error: a second threadgroup(0)
  a[0] = s[0] + t[0];
}

// ---- threadgroup_argument_in_device_memory ----
kernel void k(device float* a [[threadgroup(0)]]) {  // error: threadgroup memory
  a[0] = 1;
}

// ---- two_attributes ----
kernel void k(device float* a [[buffer(0)]],
              uint i [[thread_position_in_grid, thread_index_in_threadgroup]]) {  // error: a second attribute
  a[i] = 1;
}

// ---- unknown_attribute ----
kernel void k(device float* a [[buffer(0)]],
              uint i [[thread_position_in_gird]]) {  // error: thread_position_in_gird
  a[i] = 1;
}

// ---- unknown_function_attribute ----
[[compute]] void f() {}  // error: compute

// ---- attribute_of_wrong_type ----
kernel void k(device float* a [[buffer(0)]],
              float i [[thread_position_in_grid]]) {  // error: float
  a[0] = i;
}

// ---- signed_position ----
kernel void k(device float* a [[buffer(0)]],
              int i [[thread_position_in_grid]]) {  // error: int
  a[i] = 1;
}

// ---- vector_for_index ----
kernel void k(device float* a [[buffer(0)]],
              uint2 i [[thread_index_in_threadgroup]]) {  // error: uint2
  a[i.x] = 1;
}

// ---- positions_of_different_sizes ----
kernel void k(device float* a [[buffer(0)]], uint2 i [[thread_position_in_grid]],
              uint3 n [[threads_per_threadgroup]]) {  // error: as many components
  a[i.x] = n.x;
}

// ---- positions_of_numbers_and_vectors ----
kernel void k(device uint* a [[buffer(0)]], uint2 at [[thread_position_in_grid]],
              uint group [[threadgroup_position_in_grid]]) {  // error: as many components
  a[at.x] = at.y + group;
}

// ---- attribute_twice ----
kernel void k(device uint* a [[buffer(0)]], uint i [[thread_position_in_grid]],
              uint j [[thread_position_in_grid]]) {  // error: is a second thread_position_in_grid
  a[i] = j;
}

// ---- attribute_and_synonym ----
kernel void k(device uint* a [[buffer(0)]], uint w [[threads_per_simdgroup]],
              uint v [[thread_execution_width]]) {  // error: is a second threads_per_simdgroup
  a[v] = w;
}

// ---- function_main ----
void main() {}  // error: main

// ---- position_and_extent_of_different_types ----
kernel void k(device float* a [[buffer(0)]], uint i [[thread_position_in_grid]],
              ushort n [[threads_per_grid]]) {  // error: has not the type of
  a[i] = n;
}

// ---- pointer_to_pointer_parameter ----
kernel void k(device float* thread* a [[buffer(0)]]) { a[0][0] = 1; }  // error:

// ---- kernel_name_twice ----
kernel void k(device float* a [[buffer(0)]]) { a[0] = 1; }
kernel void k(device int* a [[buffer(0)]]) { a[0] = 1; }  // error: a second kernel

// ---- host_name_twice ----
template <typename T>
[[kernel]] void k(device T* a [[buffer(0)]]) { a[0] = T(1); }
template [[host_name("k")]] [[kernel]] decltype(k<float>) k<float>;
template [[host_name("k")]] [[kernel]] decltype(k<int>) k<int>;  // error: a second kernel

// ---- threadgroup_variable_in_function ----
float f(float x) {
  threadgroup float s[32];  // error: outside a kernel
  s[0] = x;
  return s[0];
}

// ---- threadgroup_variable_with_value ----
kernel void k(device float* a [[buffer(0)]]) {
  threadgroup float s = 1;  // error: initial
  a[0] = s;
}

// ---- threadgroup_memory_exceeded ----
kernel void k(device float* a [[buffer(0)]]) {
  threadgroup float s[8192];
  threadgroup float t[1];  // error: 32768
  a[0] = s[0] + t[0];
}

// ---- threadgroup_memory_exceeded_in_template ----
template <typename T>
[[kernel]] void k(device T* a [[buffer(0)]]) {
  threadgroup T s[6000];  // error: 32768
  a[0] = s[0];
}
template [[host_name("k_short")]] [[kernel]] decltype(k<short>) k<short>;
template [[host_name("k_long")]] [[kernel]] decltype(k<long>) k<long>;

// ---- too_many_threads ----
[[kernel, max_total_threads_per_threadgroup(2048)]] void k(device float* a [[buffer(0)]]) {
  a[0] = 1;  // error: 1024
}

// ---- function_constant_outside_constant ----
bool has_bias [[function_constant(0)]];  // error: constant address space
kernel void k(device float* a [[buffer(0)]]) { a[0] = has_bias; }

// ---- function_constant_twice ----
constant bool has_bias [[function_constant(0)]];
constant bool has_scale [[function_constant(0)]];  // error: a second function_constant(0)
kernel void k(device float* a [[buffer(0)]]) { a[0] = has_bias || has_scale; }

// ---- function_constant_of_struct ----
struct S {
  int x;
};
constant S s [[function_constant(0)]];  // error: scalar
kernel void k(device int* a [[buffer(0)]]) { a[0] = s.x; }

// ---- function_constant_with_value ----
constant bool has_bias [[function_constant(0)]] = true;  // error: no value
kernel void k(device float* a [[buffer(0)]]) { a[0] = has_bias; }

// ---- function_constant_as_extent ----
constant uint size [[function_constant(0)]];
kernel void k(device float* a [[buffer(0)]]) {
  float x[size];  // error:
  a[0] = x[0];
}

// ---- unknown_name ----
kernel void k(device float* a [[buffer(0)]]) {
  a[0] = no_such_function(a[0]);  // error: no_such_function
}

// ---- syntax ----
kernel void k(device float* a [[buffer(0)]]) {
  a[0] = 1  // error: ';'
}

// ---- unbalanced ----
kernel void k(device float* a [[buffer(0)]]) {
  a[0] = (1 + 2;  // error:
}

// ---- in_template_without_instance ----
template <typename T>
void f(device T* a) {
  goto end;  // error: goto
end:
  a[0] = T(0);
}

// ---- several_at_once ----
struct S {
  virtual void f() {}  // error: virtual
};
int counter = 0;  // error: constant memory
float g(float* p) {  // error: address space
  return p[0];
}

// ---- bfloat_literal ----
kernel void k(device float* a [[buffer(0)]], device bfloat* b [[buffer(1)]]) {
  b[0] = 1.5f;  // error: bfloat
}

// ---- bfloat_exact_literal ----
kernel void k(device float* a [[buffer(0)]], device bfloat* b [[buffer(1)]]) {
  bfloat x = 1.0f;  // error: bfloat
  b[0] = x;
}

// ---- bfloat_from_half_literal ----
kernel void k(device float* a [[buffer(0)]], device bfloat* b [[buffer(1)]]) {
  b[0] = 1.0h;  // error: bfloat
}

// ---- bfloat_function_result ----
bfloat f(float x) {
  return x;  // error: bfloat
}
kernel void k(device float* a [[buffer(0)]], device bfloat* b [[buffer(1)]]) {
  b[0] = f(a[0]);
}

// ---- bfloat_literal_result ----
bfloat f() {
  return 0.0f;  // error: bfloat
}
kernel void k(device float* a [[buffer(0)]], device bfloat* b [[buffer(1)]]) {
  b[0] = f();
}

// ---- bfloat_of_a_function ----
kernel void k(device float* a [[buffer(0)]], device bfloat* b [[buffer(1)]]) {
  b[0] = exp(a[0]);  // error: bfloat
}

// ---- bfloat_argument ----
bfloat f(bfloat x) { return x; }
kernel void k(device float* a [[buffer(0)]], device bfloat* b [[buffer(1)]]) {
  b[0] = f(a[0]);  // error: bfloat
}

// ---- bfloat_literal_argument ----
bfloat f(bfloat x) { return x; }
kernel void k(device float* a [[buffer(0)]], device bfloat* b [[buffer(1)]]) {
  b[0] = f(0.5f);  // error: bfloat
}

// ---- bfloat_plus_float ----
kernel void k(device float* a [[buffer(0)]], device bfloat* b [[buffer(1)]]) {
  b[0] = b[1] + a[0];  // error: bfloat
}

// ---- bfloat_times_literal ----
kernel void k(device float* a [[buffer(0)]], device bfloat* b [[buffer(1)]]) {
  b[0] = b[1] * 2.0f;  // error: bfloat
}

// ---- bfloat_compound_sum ----
kernel void k(device float* a [[buffer(0)]], device bfloat* b [[buffer(1)]]) {
  b[0] += a[0];  // error: bfloat
}

// ---- bfloat_compound_difference ----
kernel void k(device float* a [[buffer(0)]], device bfloat* b [[buffer(1)]]) {
  b[0] -= a[0];  // error: bfloat
}

// ---- bfloat_compound_product ----
kernel void k(device float* a [[buffer(0)]], device bfloat* b [[buffer(1)]]) {
  b[0] *= a[0];  // error: bfloat
}

// ---- bfloat_compound_quotient ----
kernel void k(device float* a [[buffer(0)]], device bfloat* b [[buffer(1)]]) {
  b[0] /= a[0];  // error: bfloat
}

// ---- bfloat_compound_literal ----
kernel void k(device float* a [[buffer(0)]], device bfloat* b [[buffer(1)]]) {
  b[0] += 1.0f;  // error: bfloat
}

// ---- bfloat_compound_half ----
kernel void k(device float* a [[buffer(0)]], device bfloat* b [[buffer(1)]]) {
  b[0] *= half(a[0]);  // error: bfloat
}

// ---- bfloat_member ----
struct S {
  bfloat x;
};
kernel void k(device float* a [[buffer(0)]], device bfloat* b [[buffer(1)]]) {
  S s;
  s.x = a[0];  // error: bfloat
  b[0] = s.x;
}

// ---- bfloat_choice ----
kernel void k(device float* a [[buffer(0)]], device bfloat* b [[buffer(1)]]) {
  b[0] = a[0] > 0 ? a[0] : a[1];  // error: bfloat
}

// ---- bfloat_array_element ----
kernel void k(device float* a [[buffer(0)]], device bfloat* b [[buffer(1)]]) {
  thread bfloat t[2];
  t[0] = a[0];  // error: bfloat
  b[0] = t[0];
}

// ---- template_auto ----
template <auto n>  // error: template <auto>
int f() {
  return n;
}
kernel void k(device float* a [[buffer(0)]]) {
  a[0] = f<3>();
}

// ---- template_auto_pack ----
template <auto... n>  // error: template <auto>
int f() {
  return (0 + ... + n);
}
kernel void k(device float* a [[buffer(0)]]) {
  a[0] = f<1, 2>();
}

// ---- deduction_guide ----
template <typename T>
struct Pair {
  T x, y;
};
template <typename T>
Pair(T, T) -> Pair<T>;  // error: deduction guide
kernel void k(device float* a [[buffer(0)]]) {
  a[0] = 1;
}

// ---- class_template_without_arguments ----
template <typename T>
struct Pair {
  T x, y;
};
kernel void k(device float* a [[buffer(0)]]) {
  Pair p{a[0], a[1]};  // error: deduce
  a[0] = p.x;
}

// ---- temporary_without_template_arguments ----
template <typename T>
struct Box {
  T x;
  explicit Box(T v) thread : x(v) {}
};
kernel void k(device float* a [[buffer(0)]]) {
  a[0] = Box(a[1]).x;  // error: deduce
}

// ---- pointer_member_without_space ----
struct Node {
  int value;
  Node* next;  // error: address space
};

// ---- reference_result_without_space ----
float& f(device float* p) { return p[0]; }  // error: address space

// ---- auto_pointer_to_other_space ----
kernel void k(device float* a [[buffer(0)]]) {
  threadgroup float s[4];
  threadgroup float* p = a;  // error: threadgroup
  s[0] = p[0];
}

// ---- thread_pointer_to_threadgroup ----
kernel void k(device float* a [[buffer(0)]]) {
  threadgroup float s[4];
  thread float* p = s;  // error: thread
  a[0] = p[0];
}

// ---- pointer_comparison ----
kernel void k(device float* a [[buffer(0)]]) {
  threadgroup float s[4];
  if (s == a) a[0] = 1;  // error: comparison
}

// ---- constant_incremented ----
kernel void k(device float* a [[buffer(0)]], constant int* c [[buffer(1)]]) {
  ++c[0];  // error: 
  a[0] = c[0];
}

// ---- constant_struct_written ----
struct S {
  int n;
};
kernel void k(device float* a [[buffer(0)]], constant S& s [[buffer(1)]]) {
  s.n = 1;  // error: 
  a[0] = s.n;
}

// ---- program_constant_written ----
constant int n = 3;
kernel void k(device float* a [[buffer(0)]]) {
  n = 4;  // error: 
  a[0] = n;
}

// ---- const_local_written ----
kernel void k(device float* a [[buffer(0)]]) {
  const int n = 3;
  n = 4;  // error: const
  a[0] = n;
}

// ---- constexpr_not_constant ----
kernel void k(device float* a [[buffer(0)]]) {
  constexpr int n = int(a[0]);  // error: constant expression
  a[0] = n;
}

// ---- static_assertion ----
kernel void k(device float* a [[buffer(0)]]) {
  static_assert(sizeof(float) == 8, "size");  // error: size
  a[0] = 1;
}

// ---- array_too_many_values ----
kernel void k(device float* a [[buffer(0)]]) {
  int x[2] = {1, 2, 3};  // error: excess
  a[0] = x[0];
}

// ---- vector_too_many_values ----
kernel void k(device float4* a [[buffer(0)]]) {
  a[0] = float4(1, 2, 3, 4, 5);  // error: number of elements
}

// ---- vector_of_vectors_too_long ----
kernel void k(device float4* a [[buffer(0)]]) {
  a[0] = float4(a[1], 1.0f);  // error: number of elements
}

// ---- vector_index_of_scalar ----
kernel void k(device float* a [[buffer(0)]]) {
  float x = a[0];
  a[1] = x[0];  // error: subscripted
}

// ---- component_of_scalar ----
kernel void k(device float* a [[buffer(0)]]) {
  a[0] = a[1].x;  // error: 
}

// ---- component_beyond_size ----
kernel void k(device float3* a [[buffer(0)]]) {
  a[0].x = a[0].w;  // error: exceeds type
}

// ---- vector_of_bool_in_if ----
kernel void k(device float4* a [[buffer(0)]]) {
  if (a[0] > a[1]) a[0] = a[1];  // error: 
}

// ---- different_vectors_added ----
kernel void k(device float4* a [[buffer(0)]], device half4* b [[buffer(1)]]) {
  a[0] = a[0] + b[0];  // error: 
}

// ---- modulo_of_floats ----
kernel void k(device float* a [[buffer(0)]]) {
  a[0] = a[0] % a[1];  // error: invalid operands
}

// ---- shift_of_float ----
kernel void k(device float* a [[buffer(0)]]) {
  a[0] = a[0] << 2;  // error: invalid operands
}

// ---- complement_of_float ----
kernel void k(device float* a [[buffer(0)]]) {
  a[0] = ~a[0];  // error: 
}

// ---- negated_struct ----
struct S {
  float x;
};
kernel void k(device float* a [[buffer(0)]]) {
  S s;
  s.x = 1;
  a[0] = (-s).x;  // error: 
}

// ---- address_of_temporary ----
kernel void k(device float* a [[buffer(0)]]) {
  thread const float* p = &float(a[0]);  // error: address
  a[0] = p[0];
}

// ---- pointer_to_vector_element ----
kernel void k(device float* a [[buffer(0)]]) {
  float4 v = float4(a[0]);
  thread float* p = &v.x;  // error: vector element
  a[0] = p[0];
}

// ---- break_outside_loop ----
kernel void k(device float* a [[buffer(0)]]) {
  break;  // error: break
  a[0] = 1;
}

// ---- continue_outside_loop ----
kernel void k(device float* a [[buffer(0)]]) {
  if (a[0] > 0) continue;  // error: continue
  a[0] = 1;
}

// ---- case_twice ----
kernel void k(device float* a [[buffer(0)]]) {
  switch (int(a[0])) {
    case 1: a[0] = 2; break;
    case 1: a[0] = 3; break;  // error: duplicate
  }
}

// ---- case_of_a_variable ----
kernel void k(device float* a [[buffer(0)]]) {
  int n = 2;
  switch (int(a[0])) {
    case n: a[0] = 1; break;  // error: 
  }
}

// ---- switch_of_float ----
kernel void k(device float* a [[buffer(0)]]) {
  switch (a[0]) {  // error: integer
    case 1: a[0] = 1; break;
  }
}

// ---- undeclared_type ----
kernel void k(device float* a [[buffer(0)]]) {
  Matrix m;  // error: Matrix
  a[0] = 1;
}

// ---- undeclared_member ----
struct S {
  float x;
};
kernel void k(device float* a [[buffer(0)]]) {
  S s;
  s.x = 1;
  a[0] = s.z;  // error: z
}

// ---- private_member ----
class S {
  float x;
};
kernel void k(device float* a [[buffer(0)]]) {
  S s;
  a[0] = s.x;  // error: private
}

// ---- name_twice ----
kernel void k(device float* a [[buffer(0)]]) {
  float x = 1;
  int x = 2;  // error: redefinition
  a[0] = x;
}

// ---- function_twice ----
float f(float x) { return x; }
float f(float y) { return y; }  // error: redefinition

// ---- struct_twice ----
struct S {
  int x;
};
struct S {  // error: redefinition
  int y;
};

// ---- overload_by_result ----
int f(float x);
float f(float x);  // error: return type

// ---- ambiguous_call ----
float f(float x, int y) { return x + y; }
float f(int x, float y) { return x + y; }
kernel void k(device float* a [[buffer(0)]]) {
  a[0] = f(1, 2);  // error: ambiguous
}

// ---- too_few_arguments ----
float f(float x, float y) { return x + y; }
kernel void k(device float* a [[buffer(0)]]) {
  a[0] = f(1);  // error: no matching
}

// ---- too_many_arguments ----
float f(float x) { return x; }
kernel void k(device float* a [[buffer(0)]]) {
  a[0] = f(1, 2);  // error: no matching
}

// ---- void_used ----
void f() {}
kernel void k(device float* a [[buffer(0)]]) {
  a[0] = f();  // error: 
}

// ---- value_from_void_function ----
void f() {
  return 1;  // error: void
}

// ---- template_arguments_missing ----
template <typename T>
T f() {
  return T(1);
}
kernel void k(device float* a [[buffer(0)]]) {
  a[0] = f();  // error: no matching
}

// ---- template_argument_of_wrong_kind ----
template <int n>
int f() {
  return n;
}
kernel void k(device float* a [[buffer(0)]]) {
  a[0] = f<float>();  // error: no matching
}

// ---- template_argument_not_constant ----
template <int n>
int f() {
  return n;
}
kernel void k(device float* a [[buffer(0)]]) {
  int n = int(a[0]);
  a[0] = f<n>();  // error: no matching
}

// ---- constraint_not_met ----
template <typename T, typename = enable_if_t<is_integral_v<T>>>
T f(T x) {
  return x;
}
kernel void k(device float* a [[buffer(0)]]) {
  a[0] = f(a[0]);  // error: no matching
}

// ---- incomplete_type ----
struct S;
kernel void k(device float* a [[buffer(0)]]) {
  S s;  // error: incomplete
  a[0] = 1;
}

// ---- default_argument_before_others ----
float f(float x = 1, float y) { return x + y; }  // error: default argument

// ---- this_outside_class ----
float f() { return this->x; }  // error: this

// ---- uninitialised_reference ----
kernel void k(device float* a [[buffer(0)]]) {
  thread float& x;  // error: requires an initializer
  a[0] = x;
}

// ---- threadgroup_variable_with_list ----
kernel void k(device float* a [[buffer(0)]]) {
  threadgroup float s[2] = {1, 2};  // error: initial value
  a[0] = s[0];
}

// ---- threadgroup_scalar_in_function ----
float f(float x) {
  threadgroup float s;  // error: outside a kernel
  s = x;
  return s;
}

// ---- atomic_add_to_plain_reference ----
kernel void k(device float* a [[buffer(0)]]) {
  atomic_fetch_add_explicit(a[0], 1.0f, memory_order_relaxed);  // error: no matching
}

// ---- atomic_without_order ----
kernel void k(device atomic_int* a [[buffer(0)]]) {
  atomic_fetch_add_explicit(a, 1);  // error: no matching
}

// ---- atomic_of_half ----
kernel void k(device atomic<half>* a [[buffer(0)]]) {
  atomic_store_explicit(a, half(1), memory_order_relaxed);  // error: atomic types
}

// ---- atomic_and_of_float ----
kernel void k(device atomic_float* a [[buffer(0)]]) {
  atomic_fetch_and_explicit(a, 1, memory_order_relaxed);  // error: no variant
}

// ---- strong_compare_exchange ----
kernel void k(device atomic_int* a [[buffer(0)]]) {
  int x = 0;
  atomic_compare_exchange_strong_explicit(a, &x, 1, memory_order_relaxed, memory_order_relaxed);  // error: atomic_compare
}

// ---- barrier_without_flags ----
kernel void k(device float* a [[buffer(0)]]) {
  threadgroup_barrier();  // error: no matching
  a[0] = 1;
}

// ---- barrier_of_number ----
kernel void k(device float* a [[buffer(0)]]) {
  threadgroup_barrier(1);  // error: no matching
  a[0] = 1;
}

// ---- simd_sum_of_pointer ----
kernel void k(device float* a [[buffer(0)]]) {
  a[0] = simd_sum(a)[0];  // error: invalid operands
}

// ---- shuffle_of_double_words ----
kernel void k(device ulong* a [[buffer(0)]]) {
  a[0] = simd_shuffle(a[0], 1);  // error: simdgroup functions
}

// ---- matrix_of_double_size ----
kernel void k(device float* a [[buffer(0)]]) {
  simdgroup_float16x16 m;  // error: simdgroup_float16x16
  a[0] = 1;
}

// ---- matrix_loaded_from_thread ----
kernel void k(device float* a [[buffer(0)]]) {
  float t[64];
  t[0] = 1;
  simdgroup_float8x8 m;
  simdgroup_load(m, t, 8);  // error: no matching
  simdgroup_store(m, a, 8);
}

// ---- matrix_of_other_type_loaded ----
kernel void k(device float* a [[buffer(0)]]) {
  simdgroup_half8x8 m;
  simdgroup_load(m, a, 8);  // error: no matching
  a[0] = 1;
}

// ---- matrix_product_of_wrong_shape ----
kernel void k(device float* a [[buffer(0)]]) {
  float2x3 x, y;
  a[0] = (x * y)[0][0];  // error: invalid operands
}

// ---- matrix_times_short_vector ----
kernel void k(device float* a [[buffer(0)]]) {
  float4x4 x;
  a[0] = (x * float3(1))[0];  // error: cannot convert
}

// ---- host_name_of_unknown_kernel ----
template [[host_name("k")]] [[kernel]] decltype(g<float>) g<float>;  // error: no kernel

// ---- kernel_with_operator ----
[[kernel]] float operator+(float x);  // error: must return void

// ---- buffer_minus_one ----
kernel void k(device float* a [[buffer(-1)]]) { a[0] = 1; }  // error: slots

// ---- buffer_sum_too_large ----
kernel void k(device float* a [[buffer(20 + 11)]]) { a[0] = 1; }  // error: slots

// ---- buffer_of_name ----
kernel void k(device float* a [[buffer(first)]]) { a[0] = 1; }  // error: slots

// ---- function_constant_sum_twice ----
constant int x [[function_constant(2 + 1)]];
constant int y [[function_constant(3)]];  // error: a second function_constant(3)
kernel void k(device float* a [[buffer(0)]]) {
  a[0] = x + y;
}

// ---- function_constant_of_name ----
constant int x [[function_constant(first)]];  // error: a number
kernel void k(device float* a [[buffer(0)]]) {
  a[0] = 1;
}

// ---- defined_of_no_constant ----
constant int x = 3;
kernel void k(device float* a [[buffer(0)]]) {
  if (is_function_constant_defined(x)) a[0] = 1;  // error: no function constant
}

// ---- kernels_of_one_name_not_told_apart ----
template <typename T>
[[kernel]] void k(device T* a [[buffer(0)]]) { a[0] = T(1); }
template <typename T>
[[kernel]] void k(device T* a [[buffer(0)]], device T* b [[buffer(1)]]) { a[0] = b[0]; }
template [[host_name("k")]] [[kernel]] decltype(k<float>) k<float>;  // error: needs its parameters

// ---- unterminated_string ----
constant char text[] = "text;  // error: unterminated

// ---- error_directive ----
#error "not for this device"  // error: not for this device

// ---- missing_endif ----
#if 1  // error: unterminated
constant int x = 1;

// ---- kernel_without_name ----
kernel void (device float* a [[buffer(0)]]) { a[0] = 1; }  // error: a name

// ---- int128 ----
kernel void k(device float* a [[buffer(0)]]) {
  __int128 x = 1;  // error: int128
  a[0] = x;
}

// ---- union_with_constructor_missing ----
struct S {
  S(int x) thread {}
};
kernel void k(device float* a [[buffer(0)]]) {
  S s;  // error: no matching constructor
  a[0] = 1;
}
