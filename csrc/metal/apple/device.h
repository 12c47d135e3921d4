// The device interface over Metal.framework, for macOS 14 and later.
#pragma once

#include <memory>

#include "metal/device.h"

namespace cermet::metal::apple {

// The system's GPU; null where there is none with simdgroup reductions and matrices (Apple7: M1 and
// later). Virtual machines show a lesser one, which is taken when CERMET_METAL is "any".
std::unique_ptr<Device> make_device();

}  // namespace cermet::metal::apple
