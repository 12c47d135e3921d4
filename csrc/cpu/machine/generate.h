// From a trace to code.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "cpu/machine/assembler.h"

namespace cermet::cpu::machine {

struct Generated {
  std::vector<std::uint8_t> code;
  int lanes;    // of a turn of a loop
  int spilled;  // values that have a place on the stack
};
// How the pointers of a table advance from row to row: those of `locations`, by the bytes that
// stand at `steps` and on.
struct Rows {
  std::span<const std::uint32_t> locations;
  std::uint32_t steps;
};
// The function that a trace's stores call for; of a row's elements and values, if it has rows.
// Registers are taken as the steps come; where they do not suffice, the value that is used last
// goes to the stack (Belady, "A study of replacement algorithms for a virtual-storage computer",
// 1966).
Generated generate(const Trace& trace, Assembler& assembler, const std::optional<Rows>& rows = {});

}  // namespace cermet::cpu::machine
