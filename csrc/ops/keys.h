// Elements as unsigned keys K of their width, in the order of their values.

// The bit of the sign in a width, and the key of a nan there: no other value has it.
template <typename K>
inline K sign_bit(u32 bits) {
  return K(K(1) << (bits - 1u));
}
template <typename K>
inline K nan_key(K sign) {
  return K(sign | (sign - 1));
}

// Of the bits of a float with that sign bit and infinity; `tied`: zeros of both signs are equal. A
// nan comes last.
template <typename K>
inline K float_to_key(K x, K sign, K infinity, b32 tied) {
  K magnitude = K(x & (sign - 1));
  K key = select((x & sign) != 0, K(x ^ nan_key(sign)), K(x | sign));
  key = select(tied & (magnitude == 0), sign, key);
  return select(magnitude > infinity, nan_key(sign), key);
}
template <typename K>
inline K float_from_key(K key, K sign) {
  return select((key & sign) != 0, K(key ^ sign), K(key ^ nan_key(sign)));
}
