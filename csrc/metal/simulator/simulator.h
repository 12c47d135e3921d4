// The simulated GPU: a device that runs Metal source on this machine's CPU.
#pragma once

#include <memory>

#include "metal/device.h"
#include "metal/simulator/engine.h"

namespace cermet::metal::simulator {

std::unique_ptr<Device> make_device();

// How dispatches that begin from now on are run. The first values come from the environment:
// CERMET_METAL_SANITIZE=1, CERMET_METAL_COUNT=1, CERMET_METAL_SHUFFLE=<seed>. With `shuffle`,
// dispatches between two barriers run in a random order too.
Options options();
void set_options(const Options& options);

}  // namespace cermet::metal::simulator
