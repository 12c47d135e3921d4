// The backends of this build: the one file that names them.
#include "cpu/backend.h"
#include "eval/backend.h"
#include "metal/backend.h"

namespace cermet {

std::vector<std::pair<Device, std::unique_ptr<Backend>>> make_backends() {
  std::vector<std::pair<Device, std::unique_ptr<Backend>>> all;
  all.emplace_back(Device{DeviceType::cpu, 0}, cpu::make_backend());
  if (auto gpu = metal::make_backend())
    all.emplace_back(Device{DeviceType::gpu, 0}, std::move(gpu));
  return all;
}

}  // namespace cermet
