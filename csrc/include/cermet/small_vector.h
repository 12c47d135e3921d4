// A vector whose first N elements live inside it: shapes, strides and input lists need no heap.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

namespace cermet {

template <class T, std::size_t N>
class SmallVector {
  static constexpr bool kTrivial = std::is_trivially_copyable_v<T>;

 public:
  using value_type = T;
  using iterator = T*;
  using const_iterator = const T*;

  SmallVector() = default;
  explicit SmallVector(std::size_t n, const T& value = T()) { resize(n, value); }
  SmallVector(std::initializer_list<T> list)
    requires kTrivial
      : SmallVector(list.begin(), list.end()) {}
  // A list of others, which an initializer_list would copy once more.
  template <class... U>
    requires(!kTrivial && sizeof...(U) > 0 && (std::convertible_to<U, T> && ...))
  SmallVector(U&&... list) {
    reserve(sizeof...(U));
    (emplace_back(std::forward<U>(list)), ...);
  }
  template <std::input_iterator It>
  SmallVector(It first, It last) {
    reserve(static_cast<std::size_t>(std::distance(first, last)));
    for (; first != last; ++first) append(*first);
  }
  SmallVector(const std::vector<T>& v) : SmallVector(v.begin(), v.end()) {}
  SmallVector(const SmallVector& other) { copy(other); }
  SmallVector(SmallVector&& other) noexcept { take(std::move(other)); }
  SmallVector& operator=(const SmallVector& other) {
    if (this != &other) *this = SmallVector(other);
    return *this;
  }
  SmallVector& operator=(SmallVector&& other) noexcept {
    if (this != &other) {
      release();
      take(std::move(other));
    }
    return *this;
  }
  ~SmallVector() { release(); }

  T* data() { return data_; }
  const T* data() const { return data_; }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  T* begin() { return data_; }
  T* end() { return data_ + size_; }
  const T* begin() const { return data_; }
  const T* end() const { return data_ + size_; }
  T& operator[](std::size_t i) { return data_[i]; }
  const T& operator[](std::size_t i) const { return data_[i]; }
  T& front() { return data_[0]; }
  const T& front() const { return data_[0]; }
  T& back() { return data_[size_ - 1]; }
  const T& back() const { return data_[size_ - 1]; }

  void reserve(std::size_t n) {
    if (n <= capacity_) return;
    n = std::max(n, std::size_t{2} * capacity_);
    T* grown = std::allocator<T>().allocate(n);
    std::uninitialized_move(begin(), end(), grown);
    const std::uint32_t size = size_;
    release();
    data_ = grown;
    size_ = size;
    capacity_ = static_cast<std::uint32_t>(n);
  }
  template <class... Args>
  T& emplace_back(Args&&... args) {
    if (size_ == capacity_) {
      T value(std::forward<Args>(args)...);  // the arguments may point into this vector
      reserve(size_ + 1);
      return *::new (static_cast<void*>(data_ + size_++)) T(std::move(value));
    }
    return *::new (static_cast<void*>(data_ + size_++)) T(std::forward<Args>(args)...);
  }
  void push_back(const T& value) { emplace_back(value); }
  void push_back(T&& value) { emplace_back(std::move(value)); }
  void pop_back() { std::destroy_at(data_ + --size_); }
  void clear() {
    std::destroy(begin(), end());
    size_ = 0;
  }
  void resize(std::size_t n, const T& value = T()) {
    while (size_ > n) pop_back();
    reserve(n);
    while (size_ < n) append(value);
  }
  T* insert(const T* at, const T& value) {
    const auto i = at - begin();
    push_back(value);
    std::rotate(begin() + i, end() - 1, end());
    return begin() + i;
  }
  T* erase(const T* at) {
    T* p = begin() + (at - begin());
    std::move(p + 1, end(), p);
    pop_back();
    return p;
  }

  bool operator==(const SmallVector& other) const {
    if (size_ != other.size_) return false;
    for (std::uint32_t i = 0; i < size_; ++i)  // few: faster than a call of memcmp
      if (!(data_[i] == other.data_[i])) return false;
    return true;
  }

 private:
  // Where there is room.
  void append(const T& value) { ::new (static_cast<void*>(data_ + size_++)) T(value); }
  void copy(const SmallVector& other) {
    reserve(other.size_);
    if (kTrivial && other.size_ <= N) return take_inline(other);
    for (const T& value : other) append(value);
  }
  // All of the storage: a constant number of bytes needs no call.
  void take_inline(const SmallVector& other) {
    std::memcpy(storage_, static_cast<const void*>(other.data_), sizeof storage_);
    size_ = other.size_;
  }
  T* inline_data() { return reinterpret_cast<T*>(storage_); }
  // Leaves the vector empty with its inline storage.
  void release() {
    std::destroy(begin(), end());
    if (data_ != inline_data()) std::allocator<T>().deallocate(data_, capacity_);
    data_ = inline_data();
    size_ = 0;
    capacity_ = N;
  }
  void take(SmallVector&& other) {
    if (other.data_ == other.inline_data()) {
      if constexpr (kTrivial)
        std::memcpy(storage_, other.storage_, sizeof storage_);
      else
        std::uninitialized_move(other.begin(), other.end(), data_);
      size_ = other.size_;
      other.clear();
    } else {
      data_ = std::exchange(other.data_, other.inline_data());
      size_ = std::exchange(other.size_, 0);
      capacity_ = std::exchange(other.capacity_, static_cast<std::uint32_t>(N));
    }
  }

  T* data_ = inline_data();
  std::uint32_t size_ = 0;
  std::uint32_t capacity_ = N;
  alignas(T) std::byte storage_[N * sizeof(T)];
};

// Extents and strides of an array, in elements.
using Shape = SmallVector<std::int64_t, 4>;
using Strides = SmallVector<std::int64_t, 4>;

}  // namespace cermet
