// The checksum of zip archives: sixteen bytes at a time, by a table for each.
#include <array>

#include "io/stored.h"

namespace cermet::io {
namespace {

using Table = std::array<std::uint32_t, 256>;
constexpr std::size_t kStep = 16;

constexpr std::array<Table, kStep> make_tables() {
  constexpr std::uint32_t kPolynomial = 0xedb88320;  // bits reversed
  std::array<Table, kStep> tables{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = c >> 1 ^ (c & 1 ? kPolynomial : 0);
    tables[0][i] = c;
  }
  for (std::size_t k = 1; k < kStep; ++k)
    for (std::size_t i = 0; i < 256; ++i)
      tables[k][i] = tables[k - 1][i] >> 8 ^ tables[0][tables[k - 1][i] & 0xff];
  return tables;
}
constexpr std::array<Table, kStep> kTables = make_tables();

}  // namespace

std::uint32_t crc32(std::uint32_t before, std::span<const std::byte> bytes) {
  std::uint32_t crc = ~before;
  const auto* p = reinterpret_cast<const unsigned char*>(bytes.data());
  std::size_t n = bytes.size();
  for (; n >= kStep; n -= kStep, p += kStep) {
    std::uint32_t next = 0;
    for (std::size_t i = 0; i < 4; ++i)
      next ^= kTables[kStep - 1 - i][p[i] ^ (crc >> 8 * i & 0xff)];
    for (std::size_t i = 4; i < kStep; ++i) next ^= kTables[kStep - 1 - i][p[i]];
    crc = next;
  }
  for (; n > 0; --n, ++p) crc = crc >> 8 ^ kTables[0][(crc ^ *p) & 0xff];
  return ~crc;
}

}  // namespace cermet::io
