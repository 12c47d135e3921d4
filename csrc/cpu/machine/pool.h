// The constants that stand behind a function's code.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace cermet::cpu::machine {

class Pool {
 public:
  // The place of a constant, which is there already or comes last. One may come twice.
  std::size_t place_of(std::uint32_t bits) {
    std::uint16_t& cached = cache_[(bits ^ bits >> 11 ^ bits >> 22) % cache_.size()];
    if (cached == 0 || constants_[cached - 1u] != bits) {
      constants_.push_back(bits);
      cached = static_cast<std::uint16_t>(constants_.size());
    }
    return cached - 1u;
  }
  const std::vector<std::uint32_t>& all() const { return constants_; }

 private:
  std::vector<std::uint32_t> constants_;
  std::array<std::uint16_t, 256> cache_{};  // of places, plus one
};

}  // namespace cermet::cpu::machine
