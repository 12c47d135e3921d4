// Each member lies at a multiple of its size, as Metal lays out a struct.
#include "metal/program/arguments.h"

#include <algorithm>
#include <cstring>

namespace cermet::metal {
namespace {

std::uint64_t value_of(const Source& s, const Numbers& n,
                       std::span<const std::uint64_t> constants) {
  const auto axis = [&]() -> const Axis& { return n.axes[static_cast<int>(s.group)][s.index]; };
  switch (s.what) {
    case Source::What::constant: return constants[s.index] >> s.shift;
    case Source::What::extent: return static_cast<std::uint64_t>(axis().extent);
    case Source::What::stride: return static_cast<std::uint64_t>(axis().strides[s.port]);
    case Source::What::length: return static_cast<std::uint64_t>(n.length);
    case Source::What::rows: return static_cast<std::uint64_t>(n.rows);
    case Source::What::columns: return static_cast<std::uint64_t>(n.columns);
    case Source::What::chunks: return static_cast<std::uint64_t>(n.chunks);
    case Source::What::chunk_blocks: return static_cast<std::uint64_t>(n.chunk_blocks);
    case Source::What::size: return static_cast<std::uint64_t>(n.size);
  }
  return 0;
}

}  // namespace

std::vector<std::byte> pack(std::span<const Member> members, const Numbers& numbers,
                            std::span<const std::uint64_t> constants) {
  std::vector<std::byte> out;
  std::size_t alignment = 1;
  const auto align = [&](std::size_t to) { out.resize((out.size() + to - 1) / to * to); };
  for (const Member& m : members) {
    // The first bytes of a little-endian number are the narrower number.
    const std::uint64_t value = value_of(m.source, numbers, constants);
    align(m.size);
    out.resize(out.size() + m.size);
    std::memcpy(out.data() + out.size() - m.size, &value, m.size);
    alignment = std::max(alignment, m.size);
  }
  align(alignment);
  return out;
}

}  // namespace cermet::metal
