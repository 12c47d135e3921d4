// Elements as unsigned keys of their width K in the order of their values, so that one kernel
// serves all types of a width. A nan comes last; complex numbers are ordered by parts.
#pragma once

#include "arguments.h"
#include "ops.h"

template <typename K>
inline K to_key(K x, constant KeyArguments& type, bool tied) {
  const uint half_bits = 4 * sizeof(K);
  const K sign = ops::sign_bit<K>(2 * half_bits), part_sign = ops::sign_bit<K>(half_bits);
  const K infinity = static_cast<K>(type.infinity);
  if (type.kind == kKeyUnsigned) return x;
  if (type.kind == kKeySigned) return x ^ sign;
  if (type.kind == kKeyFloat) return ops::float_to_key(x, sign, infinity, tied);
  const K re = x & ops::nan_key(part_sign), im = static_cast<K>(x >> half_bits);
  return static_cast<K>(ops::float_to_key(re, part_sign, infinity, tied) << half_bits) |
         ops::float_to_key(im, part_sign, infinity, tied);
}

template <typename K>
inline K from_key(K key, constant KeyArguments& type) {
  const uint half_bits = 4 * sizeof(K);
  const K sign = ops::sign_bit<K>(2 * half_bits), part_sign = ops::sign_bit<K>(half_bits);
  if (type.kind == kKeyUnsigned) return key;
  if (type.kind == kKeySigned) return key ^ sign;
  if (type.kind == kKeyFloat) return ops::float_from_key(key, sign);
  const K re = static_cast<K>(key >> half_bits), im = key & ops::nan_key(part_sign);
  return ops::float_from_key(re, part_sign) |
         static_cast<K>(ops::float_from_key(im, part_sign) << half_bits);
}

// Whether the key is a nan's, in a complex number of either part.
template <typename K>
inline bool is_nan_key(K key, constant KeyArguments& type) {
  const uint half_bits = 4 * sizeof(K);
  const K part_nan = ops::nan_key(ops::sign_bit<K>(half_bits));
  if (type.kind == kKeyFloat) return key == ops::nan_key(ops::sign_bit<K>(2 * half_bits));
  return type.kind == kKeyComplex && (key >> half_bits == part_nan || (key & part_nan) == part_nan);
}
