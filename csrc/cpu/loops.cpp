#include "cpu/loops.h"

namespace cermet::cpu {

const Loops& loops() {
  static const Loops* const table = [] {
    auto* t = new Loops;
    CERMET_DISPATCH(fill_unary(*t));
    CERMET_DISPATCH(fill_binary(*t));
    CERMET_DISPATCH(fill_conversions(*t));
    CERMET_DISPATCH(fill_reductions(*t));
    CERMET_DISPATCH(fill_scans(*t));
    return t;
  }();
  return *table;
}

}  // namespace cermet::cpu
