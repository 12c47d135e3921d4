// One thread pool for the process, and loops spread over it.
#pragma once

#include <cstdint>

#include "cpu/function_ref.h"

namespace cermet::cpu {

using LoopBody = FunctionRef<void(std::int64_t begin, std::int64_t end)>;

// Runs body over [0, n) in pieces of `grain` (the last may be shorter), on the calling thread and
// the pool's. Which thread runs a piece is not fixed; the pieces are. One piece, or a call from
// inside another loop's body, runs inline. The first exception a piece throws is rethrown here,
// after all pieces have stopped. Between pieces the calling thread polls the interrupt check.
void parallel_for(std::int64_t n, std::int64_t grain, LoopBody body);

// A number in [0, get_num_threads()) that no other thread of the same loop has.
int thread_index();

}  // namespace cermet::cpu
