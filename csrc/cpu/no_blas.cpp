// What stands in for LAPACK in a build without it.
#include "cpu/backend.h"
#include "graph/check.h"

namespace cermet::cpu {

void factorize(const Factorization& p, std::span<const Tensor>, std::span<const Tensor>) {
  fail(p.op, "needs LAPACK, and this library was built without it (CERMET_BLAS=OFF)");
}

}  // namespace cermet::cpu
