// Devices and streams: the backends by device, the default device and each device's default stream.
#include "cermet/device.h"

#include <array>
#include <atomic>
#include <stdexcept>

#include "eval/backend.h"
#include "eval/batch.h"
#include "graph/context.h"
#include "graph/fork.h"

namespace cermet {
namespace {

// The one global state of devices. A device that was registered stays. Under Lock::devices.
struct Devices {
  struct Entry {
    Device device;
    std::unique_ptr<Backend> backend;
    std::atomic<int> stream{0};  // the default one's index
  };
  std::array<Entry, 16> entries;
  std::atomic<std::size_t> count{0};  // entries before it are there for good
  std::vector<Stream> streams;
  std::atomic<Device> device{Device{}};

  Entry* find(Device d) {
    const std::size_t n = count.load(std::memory_order_acquire);
    for (std::size_t i = 0; i < n; ++i)
      if (entries[i].device == d) return &entries[i];
    return nullptr;
  }
  void add(Device d, std::unique_ptr<Backend> backend) {
    const std::scoped_lock lock(mutex_of(Lock::devices));
    const std::size_t n = count;
    if (find(d) || n == entries.size())
      throw std::invalid_argument("register_backend: " + to_string(d) +
                                  (find(d) ? " is taken" : " is one too many"));
    streams.push_back({d, static_cast<std::int32_t>(streams.size())});
    entries[n].device = d;
    entries[n].backend = std::move(backend);
    entries[n].stream = streams.back().index;
    count.store(n + 1, std::memory_order_release);
  }
};

Devices& devices() {
  static Devices* const all = [] {
    auto* d = new Devices;  // streams are asked for at any time
    for (auto& [device, backend] : make_backends()) d->add(device, std::move(backend));
    d->device = d->entries[d->count - 1].device;  // a GPU where there is one
    return d;
  }();
  return *all;
}

Devices::Entry& require(const char* what, Device d) {
  if (Devices::Entry* entry = devices().find(d)) return *entry;
  throw std::invalid_argument(std::string(what) + ": " + to_string(d) + " is not available");
}

}  // namespace

// ---- Backends ----

void register_backend(Device device, std::unique_ptr<Backend> backend) {
  devices().add(device, std::move(backend));
}

Backend* find_backend(Device device) {
  Devices::Entry* entry = devices().find(device);
  return entry ? entry->backend.get() : nullptr;
}
Backend& backend_of(Device device) { return *require("stream", device).backend; }
Backend& host_backend() { return *devices().entries[0].backend; }

std::shared_ptr<Ticket> Queue::run_products(std::span<const ProductRun>, const Kernel&,
                                            const ProgramRun&) {
  throw std::logic_error("a product with an epilogue went to a device that takes none");
}
void Backend::start_capture(const std::string&) {
  throw std::runtime_error("start_capture: " + std::string(name()) + " cannot record its work");
}
void Backend::stop_capture() {
  throw std::runtime_error("stop_capture: " + std::string(name()) + " cannot record its work");
}

// ---- Devices ----

bool is_available(Device d) { return devices().find(d) != nullptr; }
int device_count(DeviceType t) {
  int n = 0;
  Devices& all = devices();
  for (std::size_t i = 0; i < all.count; ++i) n += all.entries[i].device.type == t;
  return n;
}
std::map<std::string, std::variant<std::string, std::int64_t>> device_info(Device d) {
  return require("device_info", d).backend->info();
}
void set_default_device(Device d) {
  require("set_default_device", d);
  devices().device = d;
}

// ---- Streams ----

void set_default_stream(Stream s) { require("set_default_stream", s.device).stream = s.index; }
Stream new_stream(Device d) {
  require("new_stream", d);
  Devices& all = devices();
  const std::scoped_lock lock(mutex_of(Lock::devices));
  all.streams.push_back({d, static_cast<std::int32_t>(all.streams.size())});
  return all.streams.back();
}
std::vector<Stream> all_streams() {
  Devices& all = devices();
  const std::scoped_lock lock(mutex_of(Lock::devices));
  return all.streams;
}

void synchronize() { wait_for_streams(); }
void synchronize(Stream) { wait_for_streams(); }

namespace {

Backend& gpu_backend(const char* what) {
  if (Backend* gpu = find_backend({DeviceType::gpu, 0})) return *gpu;
  throw std::runtime_error(std::string(what) + ": there is no GPU");
}

}  // namespace

std::size_t set_wired_limit(std::size_t limit) {
  Backend* gpu = find_backend({DeviceType::gpu, 0});
  return gpu ? gpu->set_wired_limit(limit) : 0;
}

void start_capture(const std::string& path) { gpu_backend("start_capture").start_capture(path); }
void stop_capture() { gpu_backend("stop_capture").stop_capture(); }

// ---- What the graph asks ----

Device context::device() { return devices().device.load(std::memory_order_relaxed); }
Stream context::stream_of(Device d) {
  return {d, require("default_stream", d).stream.load(std::memory_order_relaxed)};
}

}  // namespace cermet
