// Random bits: Threefry-2x32-20 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy
// as 1, 2, 3", 2011).

struct Words {
  u32 x, y;
};
inline Words threefry_mix(Words w, u32 rotation) {
  u32 x = w.x + w.y;
  return Words{x, ((w.y << rotation) | (w.y >> (32u - rotation))) ^ x};
}
inline Words threefry_even(Words w) {
  return threefry_mix(threefry_mix(threefry_mix(threefry_mix(w, 13u), 15u), 26u), 6u);
}
inline Words threefry_odd(Words w) {
  return threefry_mix(threefry_mix(threefry_mix(threefry_mix(w, 17u), 29u), 16u), 24u);
}
inline Words threefry(Words key, Words counter) {
  u32 last = key.x ^ key.y ^ 0x1bd11bdau;
  Words w = threefry_even(Words{counter.x + key.x, counter.y + key.y});
  w = threefry_odd(Words{w.x + key.y, w.y + last + 1u});
  w = threefry_even(Words{w.x + last, w.y + key.x + 2u});
  w = threefry_odd(Words{w.x + key.x, w.y + key.y + 3u});
  w = threefry_even(Words{w.x + key.y, w.y + last + 4u});
  return Words{w.x + last, w.y + key.x + 5u};
}
