// Which instruction set the kernels run with, chosen once for the process.
//
// A file named *_simd.cpp is compiled once for each instruction set, with CERMET_ISA naming it,
// into the namespace cermet::cpu::CERMET_ISA: v2, v3 and v4 on x86-64, base elsewhere and with
// CERMET_BASE_ISA (for builds that have to be quick). Such a file calls nothing inline from outside
// its namespace that the linker could share with the other copies.
#pragma once

#include <cstdint>
#include <string_view>

namespace cermet::cpu {

enum class Isa : std::uint8_t { base, base_bf16, v2, v3, v4, v4_bf16, v4_amx };

// The best one the processor has, or the one that the environment variable CERMET_ISA forces
// (std::invalid_argument when the processor lacks it).
Isa isa();
std::string_view name_of(Isa isa);
// Whether there are instructions for products of bfloat16 and of bytes (AVX512-BF16 and VNNI, Arm's
// BF16 and I8MM). A file named *_bf16.cpp is compiled for them, into the namespace
// cermet::cpu::bf16; one named *_amx.cpp for tiles of these (AMX) besides, into cermet::cpu::amx.
inline bool has_bf16_products() { return isa() == Isa::base_bf16 || isa() >= Isa::v4_bf16; }

// CERMET_EACH_ISA(declarations) declares kernels in every instruction set's namespace;
// CERMET_DISPATCH(kernel(arguments)) calls the chosen one.
#if defined(__x86_64__) && !defined(CERMET_BASE_ISA)
#define CERMET_EACH_ISA(...) \
  namespace v2 {             \
  __VA_ARGS__                \
  }                          \
  namespace v3 {             \
  __VA_ARGS__                \
  }                          \
  namespace v4 {             \
  __VA_ARGS__                \
  }
#define CERMET_DISPATCH(...)                                          \
  (::cermet::cpu::isa() >= ::cermet::cpu::Isa::v4   ? v4::__VA_ARGS__ \
   : ::cermet::cpu::isa() == ::cermet::cpu::Isa::v3 ? v3::__VA_ARGS__ \
                                                    : v2::__VA_ARGS__)
#else
#define CERMET_EACH_ISA(...) \
  namespace base {           \
  __VA_ARGS__                \
  }
#define CERMET_DISPATCH(...) base::__VA_ARGS__
#endif

}  // namespace cermet::cpu
