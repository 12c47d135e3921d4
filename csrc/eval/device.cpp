// Devices and streams. The process-wide state is the default device and each device's default
// stream; StreamContext overrides both for a thread.
#include "cermet/device.h"

#include <sys/utsname.h>
#include <unistd.h>
#ifdef __APPLE__
#include <sys/sysctl.h>
#endif

#include <atomic>
#include <fstream>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <thread>

#include "eval/batch.h"
#include "metal/device.h"
#include "metal/regions.h"

namespace cermet {
namespace {

struct Global {
  std::mutex mutex;
  std::vector<Stream> streams{{Device{DeviceType::cpu, 0}, 0}};
  std::atomic<DeviceType> device{DeviceType::cpu};
  std::atomic<int> stream[2] = {0, 1};  // the default stream's index, by device type

  Global() {
    if (!metal::device()) return;
    device = DeviceType::gpu;
    streams.push_back({Device{DeviceType::gpu, 0}, 1});
  }
};
Global& global() {
  static Global* const g = new Global;  // threads of streams run until the process ends
  return *g;
}

thread_local std::optional<Stream> scoped;

void require(const char* what, Device d) {
  if (!is_available(d))
    throw std::invalid_argument(std::string(what) + ": " + to_string(d) + " is not available");
}

std::string cpu_name() {
#ifdef __APPLE__
  char name[256];
  std::size_t size = sizeof name;
  if (sysctlbyname("machdep.cpu.brand_string", name, &size, nullptr, 0) == 0) return name;
#endif
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  return "CPU";
}

}  // namespace

bool is_available(Device d) {
  return d.index == 0 && (d.type == DeviceType::cpu || metal::device());
}
int device_count(DeviceType t) { return is_available({t, 0}) ? 1 : 0; }

std::map<std::string, std::variant<std::string, std::int64_t>> device_info(Device d) {
  require("device_info", d);
  if (d.type == DeviceType::gpu) {
    const metal::Device& gpu = *metal::device();
    return {{"device_name", gpu.name()},
            {"architecture", gpu.architecture()},
            {"memory_size", static_cast<std::int64_t>(gpu.memory_size())},
            {"max_recommended_working_set_size", static_cast<std::int64_t>(gpu.memory_size())},
            {"max_buffer_length", static_cast<std::int64_t>(gpu.max_buffer_size())},
            {"simulated", std::int64_t{gpu.simulated()}}};
  }
  utsname name{};
  uname(&name);
  return {{"device_name", cpu_name()},
          {"architecture", std::string(name.machine)},
          {"memory_size", std::int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE)},
          {"cores", std::int64_t{std::thread::hardware_concurrency()}}};
}

Device default_device() {
  if (scoped) return scoped->device;
  return {global().device.load(std::memory_order_relaxed), 0};
}
void set_default_device(Device d) {
  require("set_default_device", d);
  global().device = d.type;
}
Stream default_stream(Device d) {
  require("default_stream", d);
  if (scoped && scoped->device == d) return *scoped;
  return {d, global().stream[static_cast<int>(d.type)].load(std::memory_order_relaxed)};
}
void set_default_stream(Stream s) {
  require("set_default_stream", s.device);
  global().stream[static_cast<int>(s.device.type)] = s.index;
}
Stream new_stream(Device d) {
  require("new_stream", d);
  Global& g = global();
  std::scoped_lock lock(g.mutex);
  g.streams.push_back({d, static_cast<std::int32_t>(g.streams.size())});
  return g.streams.back();
}
std::vector<Stream> all_streams() {
  Global& g = global();
  std::scoped_lock lock(g.mutex);
  return g.streams;
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

void synchronize() {
  for (Stream s : all_streams()) synchronize(s);
}
void synchronize(Stream s) { wait_for_stream(s); }

namespace {

metal::Device& require_metal(const char* what) {
  if (metal::Device* d = metal::device()) return *d;
  throw std::runtime_error(std::string(what) + ": there is no Metal device");
}

}  // namespace

std::size_t set_wired_limit(std::size_t limit) {
  const metal::Device* gpu = metal::device();
  if (!gpu) return 0;
  if (limit > gpu->memory_size())
    throw std::invalid_argument("set_wired_limit: " + std::to_string(limit) +
                                " bytes, the device has at most " +
                                std::to_string(gpu->memory_size()));
  return metal::regions().set_wired_limit(limit);
}

void start_capture(const std::string& path) { require_metal("start_capture").start_capture(path); }
void stop_capture() { require_metal("stop_capture").stop_capture(); }

std::string to_string(Device d) {
  return std::string("Device(") + (d.type == DeviceType::cpu ? "cpu" : "gpu") + ", " +
         std::to_string(d.index) + ")";
}
std::string to_string(Stream s) {
  return "Stream(" + to_string(s.device) + ", " + std::to_string(s.index) + ")";
}

}  // namespace cermet
