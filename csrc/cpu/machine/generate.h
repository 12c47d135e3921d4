// From a trace to code.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/machine/assembler.h"

namespace cermet::cpu::machine {

// The function that a trace's stores call for. Registers are taken as the steps come; where they do
// not suffice, the value that is used last goes to the stack (Belady, "A study of replacement
// algorithms for a virtual-storage computer", 1966).
struct Generated {
  std::vector<std::uint8_t> code;
  int lanes;  // of a turn of its loop
};
Generated generate(const Trace& trace, Assembler& assembler);

}  // namespace cermet::cpu::machine
