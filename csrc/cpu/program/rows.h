// Programs whose rows are reduced, as code: one function that goes over rows which fit a block of a
// reduction; of longer rows one for each pass, that goes over a block.
#pragma once

#include <memory>
#include <vector>

#include "cpu/machine/code.h"
#include "cpu/program/lowered.h"

namespace cermet::cpu {

struct RowCode {
  // What a pointer of the function's table is: to a port's first element, which advances from row
  // to row; to memory for a row's values between passes; to a scalar. Of a pass alone also to a
  // value of the row, and to where a reduction's result goes.
  struct Place {
    enum class Kind : std::uint8_t { port, scratch, scalar, value, result } kind;
    std::uint32_t index;     // of the port, slot, small value, value, or reduction of the pass
    std::uint32_t size = 0;  // of an element in scratch memory
  };
  std::vector<Place> places;  // all others first, then scalars
  std::uint32_t scalars = 0;  // where these begin
  std::shared_ptr<const machine::Code> code;
};

// Null where a call or a type cannot become code.
std::shared_ptr<const RowCode> compile_rows(const Lowered& program, bool streams);
std::shared_ptr<const RowCode> compile_pass(const Lowered& program, std::size_t pass, bool streams);
// Runs it over all rows. The binding is arranged.
void run_rows(const Lowered& program, const Binding& binding);

}  // namespace cermet::cpu
