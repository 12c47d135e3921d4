// Numbers for values, in the order in which they are met.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace cermet {

template <class T, class Hash>
class Numbering {
 public:
  // The number of a value, and whether it is met for the first time.
  std::pair<std::uint32_t, bool> number(const T& value) {
    if (2 * values_.size() >= places_.size()) grow();
    std::uint32_t& place = place_of(value);
    if (place) return {place - 1, false};
    values_.push_back(value);
    place = static_cast<std::uint32_t>(values_.size());
    return {place - 1, true};
  }
  std::span<const T> values() const { return values_; }
  // Forgets all, and keeps the memory for a few.
  void clear() {
    values_.clear();
    places_.assign(kFew, 0);
    if (places_.capacity() > kMostKept) places_.shrink_to_fit();
  }

 private:
  static constexpr std::size_t kFew = 16, kMostKept = 1024;  // places

  // Where a value's number, plus 1, stands or belongs.
  std::uint32_t& place_of(const T& value) {
    const std::size_t hash = Hash()(value);
    for (std::size_t i = hash ^ hash >> 32;; ++i) {
      std::uint32_t& place = places_[i & (places_.size() - 1)];
      if (!place || values_[place - 1] == value) return place;
    }
  }
  void grow() {
    places_.assign(places_.empty() ? kFew : 2 * places_.size(), 0);
    for (std::uint32_t n = 0; n < values_.size(); ++n) place_of(values_[n]) = n + 1;
  }

  std::vector<T> values_;
  std::vector<std::uint32_t> places_;  // a power of two of them, at most half of them taken
};

}  // namespace cermet
