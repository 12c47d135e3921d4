// Programs whose rows are reduced and fit a cache, as one function that goes over rows.
#pragma once

#include <memory>
#include <vector>

#include "cpu/machine/code.h"
#include "cpu/program/lowered.h"

namespace cermet::cpu {

struct RowCode {
  // What a pointer of the function's table is: to a port's first element, which advances from row
  // to row; to memory for a row's values between passes; or to a scalar.
  struct Place {
    enum class Kind : std::uint8_t { port, scratch, scalar } kind;
    std::uint32_t index;  // of the port, slot or small value
  };
  std::vector<Place> places;  // those that advance or are scratch first, then scalars
  std::uint32_t scalars = 0;  // where these begin
  std::shared_ptr<const machine::Code> code;
};

// Null where a call or a type cannot become code.
std::shared_ptr<const RowCode> compile_rows(const Lowered& program);
// Runs it over all rows. The binding is arranged.
void run_rows(const Lowered& program, const Binding& binding);

}  // namespace cermet::cpu
