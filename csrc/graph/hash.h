// Hashing of sequences of words.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace cermet {

// The hash of what `hash` is of, followed by a word.
constexpr std::size_t mix(std::size_t hash, std::uint64_t word) {
  return std::rotl(hash ^ word, 23) * 0x9e3779b97f4a7c15;
}

}  // namespace cermet
