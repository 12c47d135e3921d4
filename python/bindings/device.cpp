// Devices, streams and memory: where work runs, in which queue, and what it may hold.
#include <nanobind/stl/map.h>
#include <nanobind/stl/variant.h>

#include "bindings.h"
#include "cermet/eval.h"

namespace cermet::python {
namespace {

// `with stream(s):`, which may be entered once at a time.
struct StreamScope {
  nb::object stream;
  std::unique_ptr<StreamContext> context;
};

std::optional<Device> as_device(nb::handle h) {
  DeviceLike device;
  if (!nb::try_cast(h, device)) return {};
  return device.device;
}

template <class T>
bool equals(const T& a, nb::object other) {
  return nb::isinstance<T>(other) && *held<T>(other) == a;
}

using Facts = std::map<std::string, std::variant<std::string, std::int64_t>>;
Facts facts_of(std::optional<DeviceLike> d) {
  return device_info(d ? d->device : default_device());
}

struct Counter {
  const char* name;
  std::size_t (*get)();
  const char* doc;
};
constexpr Counter kCounters[] = {
    {"get_active_memory", &get_active_memory, "Bytes that arrays hold now."},
    {"get_peak_memory", &get_peak_memory,
     "The most bytes that arrays held since the start or `reset_peak_memory`."},
    {"get_cache_memory", &get_cache_memory, "Bytes of free memory kept for reuse."},
};
struct Limit {
  const char* name;
  std::size_t (*set)(std::size_t);
  const char* doc;
};
constexpr Limit kLimits[] = {
    {"set_memory_limit", &set_memory_limit,
     "Sets the bytes that arrays may hold before an allocation raises MemoryError. Returns the "
     "limit before."},
    {"set_cache_limit", &set_cache_limit,
     "Sets the bytes of free memory kept for reuse. Returns the limit before."},
    {"set_wired_limit", &set_wired_limit,
     "Sets the bytes of arrays that the system keeps where the GPU finds them at once (0 at first; "
     "from macOS 15 on). Returns the limit before. ValueError above the device's "
     "`max_recommended_working_set_size`; without a GPU it does nothing and returns 0."},
};

}  // namespace

void bind_memory(nb::module_& m) {
  for (const Counter& c : kCounters) m.def(c.name, c.get, c.doc);
  for (const Limit& l : kLimits) m.def(l.name, l.set, "limit"_a, l.doc);
  m.def("reset_peak_memory", &reset_peak_memory, "Starts `get_peak_memory` anew.");
  m.def("clear_cache", &clear_cache, "Gives the memory kept for reuse back to the system.");
}

void bind_device(nb::module_& m) {
  nb::enum_<DeviceType>(m, "DeviceType", "What kind of processor a device is.")
      .value("cpu", DeviceType::cpu)
      .value("gpu", DeviceType::gpu)
      .export_values();

  nb::class_<Device>(m, "Device", "A processor: its type and its number among those of the type.")
      .def(
          "__init__",
          [](Device* self, DeviceType type, int index) {
            new (self) Device{type, static_cast<std::int16_t>(index)};
          },
          "type"_a, "index"_a = 0)
      .def_ro("type", &Device::type)
      .def_ro("index", &Device::index)
      .def("__repr__", [](const Device& d) { return to_string(d); })
      // A device equals its type where its number is 0, so they share their hash.
      .def("__hash__", [](const Device& d) { return nb::hash(nb::cast(d.type)) ^ d.index; })
      .def(
          "__eq__", [](const Device& d, nb::object other) { return as_device(other) == d; },
          "other"_a.none());

  nb::class_<Stream>(m, "Stream", "A queue of work on a device; made by `new_stream`.")
      .def_ro("device", &Stream::device)
      .def_ro("index", &Stream::index)
      .def("__repr__", [](const Stream& s) { return to_string(s); })
      .def("__hash__", [](const Stream& s) { return s.index; })
      .def("__eq__", &equals<Stream>, "other"_a.none());

  nb::class_<ThreadLocalStream>(m, "ThreadLocalStream",
                                "Stands for a stream of each thread's own on a device.")
      .def_ro("device", &ThreadLocalStream::device)
      .def("__repr__",
           [](const ThreadLocalStream& s) {
             return "ThreadLocalStream(" + to_string(s.device) + ", " + std::to_string(s.index) +
                    ")";
           })
      .def("__hash__", [](const ThreadLocalStream& s) { return s.index; })
      .def("__eq__", &equals<ThreadLocalStream>, "other"_a.none());

  nb::class_<StreamScope>(m, "StreamContext",
                          "Makes a stream, or a device, this thread's default within a `with`.")
      .def(
          "__init__",
          [](StreamScope* self, nb::object s) {
            if (s.is_none()) throw nb::type_error("StreamContext: expected a stream or a device");
            to_stream(s);
            new (self) StreamScope{std::move(s), nullptr};
          },
          nb::sig(
              "def __init__(self, s: Stream | ThreadLocalStream | Device | DeviceType) -> None"),
          "s"_a)
      .def("__enter__",
           [](StreamScope& self) {
             if (self.context) throw std::invalid_argument("StreamContext: already entered");
             self.context = std::make_unique<StreamContext>(to_stream(self.stream));
           })
      .def(
          "__exit__", [](StreamScope& self, nb::args) { self.context.reset(); },
          nb::sig("def __exit__(self, exc_type: type | None = None, exc_value: object | None = "
                  "None, traceback: object | None = None) -> None"));
  m.def(
      "stream", [](nb::object s) { return nb::type<StreamScope>()(s); },
      nb::sig("def stream(s: Stream | ThreadLocalStream | Device | DeviceType) -> StreamContext"),
      "s"_a, "A context in which a stream, or a device, is this thread's default.");

  m.def("default_device", &default_device, "The device that operations run on unless told.");
  m.def(
      "set_default_device", [](DeviceLike d) { set_default_device(d.device); }, "device"_a,
      "Sets the device that operations run on unless told; ValueError when it is not available.");
  m.def(
      "is_available", [](DeviceLike d) { return is_available(d.device); }, "device"_a,
      "True when this machine has the device.");
  m.def("device_count", &device_count, "device_type"_a, "How many devices of a type there are.");
  m.def("device_info", &facts_of, "d"_a = nb::none(),
        "Facts of a device (of the default one): its name, architecture, memory in bytes.");
  m.def(
      "default_stream", [](DeviceLike d) { return default_stream(d.device); }, "device"_a,
      "The stream of a device that operations run on unless told.");
  m.def("set_default_stream", &set_default_stream, "stream"_a,
        "Makes a stream the default one of its device.");
  for (const char* name : {"new_stream", "new_thread_unsafe_stream"})
    m.def(
        name, [](DeviceLike d) { return new_stream(d.device); }, "device"_a,
        "A new stream on a device. Any thread may use it.");
  m.def(
      "new_thread_local_stream",
      [](DeviceLike d) {
        static int count = 0;
        return ThreadLocalStream{d.device, count++};
      },
      "device"_a, "A stream of each thread's own: a thread makes it when it first uses it.");
  m.def(
      "synchronize",
      [](nb::object s) {
        const StreamOrDevice stream = to_stream(s);
        synchronize(stream.resolve());
      },
      nb::sig("def synchronize(stream: Stream | ThreadLocalStream | Device | DeviceType | None = "
              "None) -> None"),
      "stream"_a = nb::none(), "Waits until the stream (the default one) has done its work.");
  m.def("clear_streams", [] { synchronize(); }, "Waits until every stream has done its work.");

  bind_memory(m);
  m.def("get_memory_limit", &get_memory_limit, "Bytes that arrays may hold.");
  m.def(
      "get_array_buffer_size",
      [](const nb::args& arrays) {
        std::size_t bytes = 0;
        for (nb::handle h : arrays) {
          const array* a = as_array(h);
          if (!a) throw nb::type_error("get_array_buffer_size: expected arrays");
          if (!a->is_available())
            throw std::invalid_argument("get_array_buffer_size: evaluate the arrays first");
          bytes += a->node()->buffer->bytes();
        }
        return bytes;
      },
      nb::sig("def get_array_buffer_size(*args: array) -> int"),
      "Bytes of the buffers behind evaluated arrays.");

  nb::module_ cuda = m.def_submodule("cuda", "CUDA devices, which Cermet does not use.");
  cuda.def("is_available", [] { return false; }, "Always False.");
}

}  // namespace cermet::python
