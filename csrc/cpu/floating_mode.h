// The floating-point mode in which kernels run, whatever mode the calling thread is in.
#pragma once

#include <cstdint>

namespace cermet::cpu {

// While it lives, this thread rounds to nearest and keeps subnormals; then the mode is as before.
class DefaultFloatingMode {
 public:
  DefaultFloatingMode() : before_(read()) {
    if ((before_ & kControl) != kDefault) write(kDefault);
  }
  ~DefaultFloatingMode() {
    if ((before_ & kControl) != kDefault) write(before_);
  }
  DefaultFloatingMode(const DefaultFloatingMode&) = delete;
  DefaultFloatingMode& operator=(const DefaultFloatingMode&) = delete;

 private:
#if defined(__x86_64__)
  using Mode = unsigned;
  static constexpr Mode kDefault = 0x1f80;  // all exceptions masked
  static constexpr Mode kControl = ~0x3fu;  // the rest says what has happened
  static Mode read() { return __builtin_ia32_stmxcsr(); }
  static void write(Mode mode) { __builtin_ia32_ldmxcsr(mode); }
#elif defined(__aarch64__)
  using Mode = std::uint64_t;
  static constexpr Mode kDefault = 0, kControl = ~Mode(0);
  static Mode read() {
    Mode mode;
    asm volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
  }
  static void write(Mode mode) { asm volatile("msr fpcr, %0" : : "r"(mode)); }
#else
  using Mode = int;
  static constexpr Mode kDefault = 0, kControl = 0;
  static Mode read() { return kDefault; }
  static void write(Mode) {}
#endif

  const Mode before_;
};

}  // namespace cermet::cpu
