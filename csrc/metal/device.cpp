// The GPU of this process: Apple's, or elsewhere the simulator.
#include "metal/device.h"

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#ifdef __APPLE__
#include "metal/apple/device.h"
#else
#include "metal/simulator/simulator.h"
#endif

namespace cermet::metal {
namespace {

std::unique_ptr<Device> make() {
  const char* choice = std::getenv("CERMET_METAL");
  const auto chosen = [&](const char* name) { return choice && std::strcmp(choice, name) == 0; };
  if (choice && *choice && !chosen("simulator") && !chosen("off") && !chosen("any"))
    throw std::invalid_argument("CERMET_METAL is \"" + std::string(choice) +
                                "\", expected \"simulator\", \"off\" or \"any\"");
#ifdef __APPLE__
  if (chosen("simulator"))
    throw std::runtime_error("CERMET_METAL=simulator: the simulator does not run on macOS");
  return chosen("off") ? nullptr : apple::make_device();
#else
  return chosen("simulator") ? simulator::make_device() : nullptr;
#endif
}

}  // namespace

Device* device() {
  static Device* const d = make().release();  // pipelines and streams use it until the process ends
  return d;
}

}  // namespace cermet::metal
