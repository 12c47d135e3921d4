// Intrusive reference counting: one word an object, no control block.
#pragma once

#include <atomic>
#include <concepts>
#include <cstdint>
#include <utility>

namespace cermet {

// An object that lives as long as the program (a table entry) is immortal: its count is not
// touched, so threads that share it do not contend.
class RefCounted {
 public:
  void retain() const {
    if (refs_.load(std::memory_order_relaxed) != kImmortal)
      refs_.fetch_add(1, std::memory_order_relaxed);
  }
  // True when the caller dropped the last reference and must destroy the object. Who has the only
  // one need not count: nobody else can.
  bool release() const {
    const std::uint32_t refs = refs_.load(std::memory_order_acquire);
    return refs == 1 || (refs != kImmortal && refs_.fetch_sub(1, std::memory_order_acq_rel) == 1);
  }
  // The first reference, of who made the object.
  void begin() const {
    if (refs_.load(std::memory_order_relaxed) == 0) refs_.store(1, std::memory_order_relaxed);
  }
  std::uint32_t refs() const { return refs_.load(std::memory_order_acquire); }
  void make_immortal() { refs_.store(kImmortal, std::memory_order_relaxed); }

 private:
  static constexpr std::uint32_t kImmortal = 0xffffffff;
  mutable std::atomic<std::uint32_t> refs_{0};
};

template <class T>
class Ref {
 public:
  Ref() = default;
  explicit Ref(T* p) : p_(p) {
    if (p_) p_->retain();
  }
  static Ref first(T* made) {
    made->begin();
    Ref ref;
    ref.p_ = made;
    return ref;
  }
  Ref(const Ref& o) : Ref(o.p_) {}
  Ref(Ref&& o) noexcept : p_(std::exchange(o.p_, nullptr)) {}
  // From a Ref to a derived or less const type.
  template <class U>
    requires std::convertible_to<U*, T*>
  Ref(const Ref<U>& o) : Ref(static_cast<T*>(o.get())) {}
  Ref& operator=(Ref o) noexcept {
    std::swap(p_, o.p_);
    return *this;
  }
  ~Ref() {
    if (p_ && p_->release()) destroy(p_);
  }
  T* get() const { return p_; }
  T* operator->() const { return p_; }
  T& operator*() const { return *p_; }
  explicit operator bool() const { return p_ != nullptr; }
  bool operator==(const Ref& o) const = default;

 private:
  // Found by argument-dependent lookup where a type needs more than delete.
  template <class U>
  static void destroy(U* p) {
    if constexpr (requires { destroy_node(p); })
      destroy_node(p);
    else
      delete p;
  }
  T* p_ = nullptr;
};

template <class T, class... Args>
Ref<T> make_ref(Args&&... args) {
  return Ref<T>::first(new T(std::forward<Args>(args)...));
}

}  // namespace cermet
