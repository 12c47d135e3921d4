// <metal_type_traits>.
#pragma once

namespace metal {

template <class T, T v>
struct integral_constant {
  static constexpr constant T value = v;
  using value_type = T;
  using type = integral_constant;
  constexpr operator T() const thread { return v; }
  constexpr operator T() const __constant { return v; }
  constexpr T operator()() const thread { return v; }
};
template <bool b>
using bool_constant = integral_constant<bool, b>;
using true_type = bool_constant<true>;
using false_type = bool_constant<false>;

template <bool, class T = void>
struct enable_if {};
template <class T>
struct enable_if<true, T> {
  using type = T;
};
template <bool b, class T = void>
using enable_if_t = typename enable_if<b, T>::type;

template <bool, class A, class B>
struct conditional {
  using type = A;
};
template <class A, class B>
struct conditional<false, A, B> {
  using type = B;
};
template <bool b, class A, class B>
using conditional_t = typename conditional<b, A, B>::type;

template <class A, class B>
struct is_same : false_type {};
template <class A>
struct is_same<A, A> : true_type {};
template <class A, class B>
inline constexpr constant bool is_same_v = is_same<A, B>::value;

// A type without what one of the specializations below matches.
#define MSL_REMOVAL(NAME) \
  template <class T>      \
  struct NAME {           \
    using type = T;       \
  };                      \
  template <class T>      \
  using NAME##_t = typename NAME<T>::type;
#define MSL_REMOVES(NAME, ...) \
  template <class T>           \
  struct NAME<__VA_ARGS__> {   \
    using type = T;            \
  };
MSL_REMOVAL(type_identity)
MSL_REMOVAL(remove_const)
MSL_REMOVES(remove_const, const T)
MSL_REMOVAL(remove_volatile)
MSL_REMOVES(remove_volatile, volatile T)
MSL_REMOVAL(remove_reference)
MSL_REMOVES(remove_reference, T&)
MSL_REMOVES(remove_reference, T&&)
MSL_REMOVAL(remove_pointer)
MSL_REMOVES(remove_pointer, T*)
MSL_REMOVES(remove_pointer, T* const)
MSL_REMOVAL(remove_addrspace)
MSL_REMOVES(remove_addrspace, __global T)
MSL_REMOVES(remove_addrspace, __local T)
MSL_REMOVES(remove_addrspace, __constant T)
MSL_REMOVES(remove_addrspace, __private T)
MSL_REMOVES(remove_addrspace, __generic T)
#undef MSL_REMOVAL
#undef MSL_REMOVES
template <class T>
struct remove_cv : remove_volatile<remove_const_t<T>> {};
template <class T>
using remove_cv_t = typename remove_cv<T>::type;
template <class T>
using decay_t = remove_cv_t<remove_addrspace_t<remove_reference_t<T>>>;
template <class T>
struct decay {
  using type = decay_t<T>;
};

template <class T>
struct is_pointer : false_type {};
template <class T>
struct is_pointer<T*> : true_type {};
template <class T>
struct is_void : is_same<void, remove_cv_t<T>> {};
template <class T>
struct is_const : false_type {};
template <class T>
struct is_const<const T> : true_type {};
template <class T>
struct is_class : bool_constant<__is_class(T)> {};
template <class T>
struct is_enum : bool_constant<__is_enum(T)> {};
template <class T>
struct is_empty : bool_constant<__is_empty(T)> {};
template <class T>
struct is_trivially_copyable : bool_constant<__is_trivially_copyable(T)> {};

template <class T, class... Types>
struct is_one_of : bool_constant<(is_same<T, Types>::value || ...)> {};
template <class T>
struct is_integral
    : is_one_of<remove_cv_t<T>, bool, char, schar, uchar, short, ushort, int, uint, long, ulong> {};
template <class T>
struct is_floating_point : is_one_of<remove_cv_t<T>, float, half, bfloat> {};
template <class T>
struct is_arithmetic : bool_constant<is_integral<T>::value || is_floating_point<T>::value> {};
template <class T>
struct is_scalar : is_arithmetic<T> {};
template <class T>
struct is_signed : bool_constant<is_one_of<remove_cv_t<T>, char, schar, short, int, long>::value ||
                                 is_floating_point<T>::value> {};
template <class T>
struct is_unsigned : bool_constant<is_integral<T>::value && !is_signed<T>::value> {};
template <class A, class B>
struct is_convertible : bool_constant<__is_convertible_to(A, B)> {};
template <class A, class B>
struct is_base_of : bool_constant<__is_base_of(A, B)> {};

#define MSL_VALUE(NAME) \
  template <class T>    \
  inline constexpr constant bool NAME##_v = NAME<T>::value;
MSL_VALUE(is_pointer)
MSL_VALUE(is_void)
MSL_VALUE(is_const)
MSL_VALUE(is_class)
MSL_VALUE(is_enum)
MSL_VALUE(is_empty)
MSL_VALUE(is_integral)
MSL_VALUE(is_floating_point)
MSL_VALUE(is_arithmetic)
MSL_VALUE(is_scalar)
MSL_VALUE(is_signed)
MSL_VALUE(is_unsigned)
#undef MSL_VALUE
template <class A, class B>
inline constexpr constant bool is_convertible_v = is_convertible<A, B>::value;
template <class A, class B>
inline constexpr constant bool is_base_of_v = is_base_of<A, B>::value;

template <class T>
struct make_unsigned {
  using type = conditional_t<
      sizeof(T) == 1, uchar,
      conditional_t<sizeof(T) == 2, ushort, conditional_t<sizeof(T) == 4, uint, ulong>>>;
};
template <class T>
struct make_signed {
  using type =
      conditional_t<sizeof(T) == 1, char,
                    conditional_t<sizeof(T) == 2, short, conditional_t<sizeof(T) == 4, int, long>>>;
};
template <class T>
using make_unsigned_t = typename make_unsigned<T>::type;
template <class T>
using make_signed_t = typename make_signed<T>::type;
template <class...>
using void_t = void;

// Apple's own name: what simdgroup functions take.
template <class T>
struct __is_valid_simdgroup_type
    : bool_constant<is_arithmetic<T>::value && sizeof(T) <= 4 && !is_same<T, bool>::value &&
                    !is_same<T, bfloat>::value> {};

}  // namespace metal
