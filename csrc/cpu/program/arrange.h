// How a program's arrays lie in memory, and what follows: the order of the axes that are not
// reduced, which is free, and inputs that are transposed in pieces before they are read.
#pragma once

#include <functional>
#include <span>

#include "cpu/program/lowered.h"

namespace cermet::cpu {

// A binding with its axes in the order that its arrays of full extent have in memory, if that is
// one: rows become columns, or columns rows.
class Arranged {
 public:
  Arranged(const Program& program, const Binding& given);
  Arranged(const Lowered& program, const Binding& given);
  Arranged(const Arranged&) = delete;
  Arranged& operator=(const Arranged&) = delete;

  Binding binding;
  int outer;

 private:
  // `full`, for inputs, then outputs: which have full extent.
  using Full = SmallVector<bool, 16>;
  void arrange(int reduced, const Full& full);
  void move(std::span<const int> order);

  Shape domain_;
  SmallVector<BoundPort, 8> inputs_, outputs_;
};

// Whether an input of full extent is read faster from a transposed copy.
bool is_transposed(std::span<const std::int64_t> domain, const Strides& strides);

// Calls run(binding) for parts of the domain, in which transposed inputs are copies; once for all
// of it where there are none, or `whole` is asked for.
void run_in_parts(const Lowered& program, const Binding& binding, bool whole,
                  const std::function<void(const Binding&)>& run);

}  // namespace cermet::cpu
