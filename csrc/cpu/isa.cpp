// Chooses the instruction set of the kernels.
#include "cpu/isa.h"

#if defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#elif defined(CERMET_AMX)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace cermet::cpu {
namespace {

#if defined(__aarch64__) && defined(__APPLE__)
bool has_arm_bf16() {
  int has = 0;
  std::size_t size = sizeof has;
  return sysctlbyname("hw.optional.arm.FEAT_BF16", &has, &size, nullptr, 0) == 0 && has &&
         sysctlbyname("hw.optional.arm.FEAT_I8MM", &has, &size, nullptr, 0) == 0 && has;
}
#elif defined(__aarch64__)
bool has_arm_bf16() {  // HWCAP2_I8MM and HWCAP2_BF16
  constexpr unsigned long kBoth = 1ul << 13 | 1ul << 14;
  return (getauxval(AT_HWCAP2) & kBoth) == kBoth;
}
#elif !defined(__x86_64__) || defined(CERMET_BASE_ISA)
bool has_arm_bf16() { return false; }
#endif

#ifdef CERMET_AMX
// Asks the system as well, which keeps these large registers from processes that do not.
bool has_tiles() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kAll = 1u << 22 | 1u << 24 | 1u << 25;  // bfloat16, tiles, bytes
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & kAll) != kAll) return false;
  constexpr long kAskForState = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kAskForState, kTileData) == 0;
}
#elif defined(__x86_64__) && !defined(CERMET_BASE_ISA)
bool has_tiles() { return false; }
#endif

Isa best() {
#if defined(__x86_64__) && !defined(CERMET_BASE_ISA)
  __builtin_cpu_init();
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                  __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
  const bool dots = __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni");
  if (v4 && dots && has_tiles()) return Isa::v4_amx;
  if (v4) return dots ? Isa::v4_bf16 : Isa::v4;
  return v3 ? Isa::v3 : Isa::v2;
#else
  return has_arm_bf16() ? Isa::base_bf16 : Isa::base;
#endif
}

Isa choose() {
  const Isa most = best();
  const char* forced = std::getenv("CERMET_ISA");
  if (!forced || !*forced) return most;
  const auto is_base = [](Isa i) { return i <= Isa::base_bf16; };
  for (Isa i : {Isa::base, Isa::base_bf16, Isa::v2, Isa::v3, Isa::v4, Isa::v4_bf16, Isa::v4_amx})
    if (name_of(i) == forced && i <= most && is_base(i) == is_base(most)) return i;
  throw std::invalid_argument("CERMET_ISA=" + std::string(forced) + ": this processor has up to " +
                              std::string(name_of(most)));
}

}  // namespace

Isa isa() {
  static const Isa chosen = choose();
  return chosen;
}

std::string_view name_of(Isa isa) {
  constexpr std::string_view names[] = {"base", "base_bf16", "v2", "v3", "v4", "v4_bf16", "v4_amx"};
  return names[static_cast<int>(isa)];
}

}  // namespace cermet::cpu
