// Evaluation: from the lazy graph to values.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cermet/array.h"

namespace cermet {

// Computes the arrays and waits. Throws the error of the first that failed.
void eval(const Arrays& arrays);
// Starts computing the arrays and returns. An error is carried by the arrays it concerns and thrown
// by whoever asks for their values.
void async_eval(const Arrays& arrays);
// The plan an evaluation of the arrays would run, as text: steps, row programs with their
// instructions, buffers and bytes; with `code` what their devices make of programs, machine code as
// hexadecimal digits. Nothing is computed.
std::string explain(const Arrays& arrays, bool code = false);

// The Metal source of the row programs that an evaluation of the arrays would run on a GPU, and the
// names of its other kernels. `complete` sources compile as they are: each has before it what it
// includes. Needs no GPU; nothing is computed.
std::string metal_source(const Arrays& arrays, bool complete = false);

// What planning has done so far: plans made, found among those kept, and dropped as not used for
// long; kernels prepared for programs, each for a class of layouts; evaluations that made the graph
// inside calls of compiled functions. Of machine code: functions made, those that plans keep, and
// the bytes of memory these have.
struct PlanCounts {
  std::uint64_t made, found, dropped, kernels, expanded;
  std::uint64_t functions_made = 0, functions = 0, function_bytes = 0;
};
PlanCounts plan_counts();

// Thrown by an evaluation that the interrupt check stopped.
class Interrupted : public std::exception {
 public:
  const char* what() const noexcept override { return "evaluation interrupted"; }
};
// Asked now and then by threads that evaluate or wait, but not by the library's own; true stops
// them. The check may evaluate, too: what it interrupted goes on, or begins anew where it needs
// that. Python's signals use this.
void set_interrupt_check(bool (*check)());
// Called by a thread around whatever may take long, so that a language lets go of its lock: `lock`
// gets what `unlock` returned, unless that is null.
void set_unlocking(void* (*unlock)(), void (*lock)(void*));

// Threads that one operation may use, the calling one included: CERMET_NUM_THREADS, else the cores.
int get_num_threads();
void set_num_threads(int n);

}  // namespace cermet
