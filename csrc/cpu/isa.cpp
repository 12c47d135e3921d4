// Chooses the instruction set of the kernels.
#include "cpu/isa.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace cermet::cpu {
namespace {

Isa best() {
#if defined(__x86_64__) && !defined(CERMET_BASE_ISA)
  __builtin_cpu_init();
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                  __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
  return v4 ? Isa::v4 : v3 ? Isa::v3 : Isa::v2;
#else
  return Isa::base;
#endif
}

Isa choose() {
  const Isa most = best();
  const char* forced = std::getenv("CERMET_ISA");
  if (!forced || !*forced) return most;
  for (Isa i : {Isa::base, Isa::v2, Isa::v3, Isa::v4})
    if (name_of(i) == forced && i <= most && (i == Isa::base) == (most == Isa::base)) return i;
  throw std::invalid_argument("CERMET_ISA=" + std::string(forced) + ": this processor has up to " +
                              std::string(name_of(most)));
}

}  // namespace

Isa isa() {
  static const Isa chosen = choose();
  return chosen;
}

std::string_view name_of(Isa isa) {
  constexpr std::string_view names[] = {"base", "v2", "v3", "v4"};
  return names[static_cast<int>(isa)];
}

}  // namespace cermet::cpu
