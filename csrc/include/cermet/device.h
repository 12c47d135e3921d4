// Devices and streams: where work runs and in which queue.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

namespace cermet {

enum class DeviceType : std::uint8_t { cpu, gpu };

struct Device {
  DeviceType type = DeviceType::cpu;
  std::int16_t index = 0;
  bool operator==(const Device&) const = default;
};

// A queue of work on a device. Work on one stream runs in order; work on two may overlap. Stream 0
// of a device is its first default stream.
struct Stream {
  Device device;
  std::int32_t index = 0;
  bool operator==(const Stream&) const = default;
};

// The last argument of every operation: a stream, a device (its default stream) or nothing (the
// default stream of the default device).
class StreamOrDevice {
 public:
  StreamOrDevice() = default;
  StreamOrDevice(Stream s) : kind_(Kind::stream), stream_(s) {}
  StreamOrDevice(Device d) : kind_(Kind::device), stream_{d, 0} {}
  StreamOrDevice(DeviceType d) : StreamOrDevice(Device{d, 0}) {}
  // The stream meant; std::invalid_argument when its device is not available.
  Stream resolve() const;

 private:
  enum class Kind : std::uint8_t { none, stream, device } kind_ = Kind::none;
  Stream stream_;
};

bool is_available(Device d);
int device_count(DeviceType t);
// Facts of a device: "device_name", "architecture", "memory_size", ...
std::map<std::string, std::variant<std::string, std::int64_t>> device_info(Device d);

Device default_device();
// std::invalid_argument when the device is not available.
void set_default_device(Device d);
Stream default_stream(Device d);
void set_default_stream(Stream s);
Stream new_stream(Device d);
// Every stream made so far, the first default streams included.
std::vector<Stream> all_streams();

// Waits until all work given to the stream (or to every stream) has finished.
void synchronize(Stream s);
void synchronize();

// Records the GPU's work to a new .gputrace file until stop_capture. std::runtime_error where the
// device cannot (on a Mac the environment variable MTL_CAPTURE_ENABLED must be 1).
void start_capture(const std::string& path);
void stop_capture();

// Makes a stream (or a device) the default of this thread for a scope.
class StreamContext {
 public:
  explicit StreamContext(StreamOrDevice s);
  ~StreamContext();
  StreamContext(const StreamContext&) = delete;
  StreamContext& operator=(const StreamContext&) = delete;

 private:
  bool had_;
  Stream before_;
};

std::string to_string(Device d);
std::string to_string(Stream s);

}  // namespace cermet
