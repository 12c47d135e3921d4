// The loops of the instruction set that a test is compiled for.
#pragma once

#include "cpu/loop.h"

inline const cermet::cpu::Loops& isa_loops() {
  static const cermet::cpu::Loops table = [] {
    cermet::cpu::Loops t;
    cermet::cpu::CERMET_ISA::fill_unary(t);
    cermet::cpu::CERMET_ISA::fill_binary(t);
    return t;
  }();
  return table;
}
