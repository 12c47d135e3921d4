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

template <class T>
struct remove_const {
  using type = T;
};
template <class T>
struct remove_const<const T> {
  using type = T;
};
template <class T>
struct remove_volatile {
  using type = T;
};
template <class T>
struct remove_volatile<volatile T> {
  using type = T;
};
template <class T>
struct remove_cv : remove_volatile<typename remove_const<T>::type> {};
template <class T>
struct remove_reference {
  using type = T;
};
template <class T>
struct remove_reference<T&> {
  using type = T;
};
template <class T>
struct remove_reference<T&&> {
  using type = T;
};
template <class T>
struct remove_pointer {
  using type = T;
};
template <class T>
struct remove_pointer<T*> {
  using type = T;
};
template <class T>
struct remove_pointer<T* const> {
  using type = T;
};
template <class T>
struct remove_addrspace {
  using type = T;
};
template <class T>
struct remove_addrspace<__global T> {
  using type = T;
};
template <class T>
struct remove_addrspace<__local T> {
  using type = T;
};
template <class T>
struct remove_addrspace<__constant T> {
  using type = T;
};
template <class T>
struct remove_addrspace<__private T> {
  using type = T;
};
template <class T>
struct remove_addrspace<__generic T> {
  using type = T;
};
template <class T>
using remove_const_t = typename remove_const<T>::type;
template <class T>
using remove_volatile_t = typename remove_volatile<T>::type;
template <class T>
using remove_cv_t = typename remove_cv<T>::type;
template <class T>
using remove_reference_t = typename remove_reference<T>::type;
template <class T>
using remove_pointer_t = typename remove_pointer<T>::type;
template <class T>
using remove_addrspace_t = typename remove_addrspace<T>::type;
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

template <class T>
inline constexpr constant bool is_pointer_v = is_pointer<T>::value;
template <class T>
inline constexpr constant bool is_void_v = is_void<T>::value;
template <class T>
inline constexpr constant bool is_const_v = is_const<T>::value;
template <class T>
inline constexpr constant bool is_class_v = is_class<T>::value;
template <class T>
inline constexpr constant bool is_enum_v = is_enum<T>::value;
template <class T>
inline constexpr constant bool is_empty_v = is_empty<T>::value;
template <class T>
inline constexpr constant bool is_integral_v = is_integral<T>::value;
template <class T>
inline constexpr constant bool is_floating_point_v = is_floating_point<T>::value;
template <class T>
inline constexpr constant bool is_arithmetic_v = is_arithmetic<T>::value;
template <class T>
inline constexpr constant bool is_scalar_v = is_scalar<T>::value;
template <class T>
inline constexpr constant bool is_signed_v = is_signed<T>::value;
template <class T>
inline constexpr constant bool is_unsigned_v = is_unsigned<T>::value;
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
template <class T>
struct type_identity {
  using type = T;
};
template <class T>
using type_identity_t = typename type_identity<T>::type;
template <class...>
using void_t = void;

}  // namespace metal
