// Elements as unsigned keys of their width K in the order of their values, so that one kernel
// serves all types of a width. A nan comes last; complex numbers are ordered by parts.
#pragma once

#include <metal_stdlib>

#include "arguments.h"
using namespace metal;

template <typename K>
inline K sign_bit(uint bits) {
  return static_cast<K>(static_cast<K>(1) << (bits - 1));
}
// The key of a nan in a type with that sign bit: no other value has it.
template <typename K>
inline K nan_key(K sign) {
  return static_cast<K>(sign | (sign - 1));
}

// `tied`: zeros of both signs are equal.
template <typename K>
inline K float_to_key(K x, K sign, K infinity, bool tied) {
  const K magnitude = x & static_cast<K>(sign - 1);
  if (magnitude > infinity) return nan_key(sign);
  if (tied && magnitude == 0) return sign;
  return x & sign ? static_cast<K>(x ^ nan_key(sign)) : static_cast<K>(x | sign);
}
template <typename K>
inline K float_from_key(K key, K sign) {
  return key & sign ? static_cast<K>(key ^ sign) : static_cast<K>(key ^ nan_key(sign));
}

template <typename K>
inline K to_key(K x, constant KeyArguments& type, bool tied) {
  const uint half_bits = 4 * sizeof(K);
  const K sign = sign_bit<K>(2 * half_bits), part_sign = sign_bit<K>(half_bits);
  const K infinity = static_cast<K>(type.infinity);
  if (type.kind == kKeyUnsigned) return x;
  if (type.kind == kKeySigned) return x ^ sign;
  if (type.kind == kKeyFloat) return float_to_key(x, sign, infinity, tied);
  const K re = x & nan_key(part_sign), im = static_cast<K>(x >> half_bits);
  return static_cast<K>(float_to_key(re, part_sign, infinity, tied) << half_bits) |
         float_to_key(im, part_sign, infinity, tied);
}

template <typename K>
inline K from_key(K key, constant KeyArguments& type) {
  const uint half_bits = 4 * sizeof(K);
  const K sign = sign_bit<K>(2 * half_bits), part_sign = sign_bit<K>(half_bits);
  if (type.kind == kKeyUnsigned) return key;
  if (type.kind == kKeySigned) return key ^ sign;
  if (type.kind == kKeyFloat) return float_from_key(key, sign);
  const K re = static_cast<K>(key >> half_bits), im = key & nan_key(part_sign);
  return float_from_key(re, part_sign) | static_cast<K>(float_from_key(im, part_sign) << half_bits);
}

// Whether the key is a nan's, in a complex number of either part.
template <typename K>
inline bool is_nan_key(K key, constant KeyArguments& type) {
  const uint half_bits = 4 * sizeof(K);
  const K part_nan = nan_key(sign_bit<K>(half_bits));
  if (type.kind == kKeyFloat) return key == nan_key(sign_bit<K>(2 * half_bits));
  return type.kind == kKeyComplex && (key >> half_bits == part_nan || (key & part_nan) == part_nan);
}
