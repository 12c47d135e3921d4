// The backends of this build: the one file that names them.
#include "cpu/backend.h"
#include "eval/backend.h"
#include "metal/backend.h"

namespace cermet {

void register_backends() {
  register_backend({DeviceType::cpu, 0}, cpu::make_backend());
  if (auto gpu = metal::make_backend()) register_backend({DeviceType::gpu, 0}, std::move(gpu));
}

}  // namespace cermet
