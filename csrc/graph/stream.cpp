// Which stream an operation is on: the one it is given, the thread's, or the default.
#include <optional>

#include "graph/context.h"

namespace cermet {
namespace {

thread_local std::optional<Stream> scoped;  // of the innermost StreamContext

}  // namespace

Device default_device() { return scoped ? scoped->device : context::device(); }

Stream default_stream(Device d) {
  return scoped && scoped->device == d ? *scoped : context::stream_of(d);
}

Stream StreamOrDevice::resolve() const {
  if (kind_ == Kind::stream) return stream_;
  if (kind_ == Kind::device) return default_stream(stream_.device);
  return scoped ? *scoped : default_stream(default_device());
}

StreamContext::StreamContext(StreamOrDevice s)
    : had_(scoped.has_value()), before_(scoped.value_or(Stream{})) {
  scoped = s.resolve();
}
StreamContext::~StreamContext() {
  if (had_)
    scoped = before_;
  else
    scoped.reset();
}

std::string to_string(Device d) {
  return std::string("Device(") + (d.type == DeviceType::cpu ? "cpu" : "gpu") + ", " +
         std::to_string(d.index) + ")";
}
std::string to_string(Stream s) {
  return "Stream(" + to_string(s.device) + ", " + std::to_string(s.index) + ")";
}

}  // namespace cermet
