// The submodule simulator: Metal source launched on buffers of Python's, and the simulated device's
// modes and counters.
#include "metal/simulator/simulator.h"
#include "metal/simulator/faults.h"

#include <nanobind/stl/map.h>

#include <bit>

#include "bindings.h"
#include "interpreter.h"

namespace cermet::python {
namespace {

using namespace metal::simulator;
using metal::Constant;
using metal::Counters;
using metal::Size;

// ---- From Python -------------------------------------------------------------------------------
// One to three extents; the others are 1.
Size to_size(const char* what, nb::handle h) {
  std::vector<std::uint32_t> n(1);
  if (!nb::try_cast(h, n[0]) && (!nb::try_cast(h, n) || n.empty() || n.size() > 3))
    throw std::invalid_argument(std::string("launch: ") + what + " must be 1 to 3 counts, not " +
                                nb::repr(h).c_str());
  n.resize(3, 1);
  return {n[0], n[1], n[2]};
}

// The memory of an object with the buffer protocol, borrowed for a launch.
class Buffer {
 public:
  Buffer(int slot, nb::handle h) {
    if (PyObject_GetBuffer(h.ptr(), &view_, PyBUF_WRITABLE | PyBUF_C_CONTIGUOUS) == 0) return;
    PyErr_Clear();
    if (PyObject_GetBuffer(h.ptr(), &view_, PyBUF_C_CONTIGUOUS) == 0) return;
    PyErr_Clear();
    throw nb::type_error(("launch: buffer " + std::to_string(slot) +
                          " must be contiguous and have the buffer protocol, not " +
                          nb::inst_name(h).c_str())
                             .c_str());
  }
  Buffer(const Buffer&) = delete;
  ~Buffer() { PyBuffer_Release(&view_); }
  Binding binding(int slot) const {
    return {slot, view_.buf, static_cast<std::size_t>(view_.len), !view_.readonly};
  }

 private:
  Py_buffer view_{};
};

// A Python number as the constant's type asks for.
Constant to_constant(const CompiledLibrary& library, int index, nb::handle value) {
  using Type = Constant::Type;
  for (const FunctionConstant& c : library.constants) {
    if (c.index != index) continue;
    if (c.type == "bool") return {index, Type::boolean, nb::cast<bool>(value)};
    if (c.type == "int")
      return {index, Type::int32, static_cast<std::uint32_t>(nb::cast<std::int32_t>(value))};
    if (c.type == "uint") return {index, Type::uint32, nb::cast<std::uint32_t>(value)};
    if (c.type == "float")
      return {index, Type::float32, std::bit_cast<std::uint32_t>(nb::cast<float>(value))};
    throw std::invalid_argument("launch: function constant " + c.name + " is of type " + c.type +
                                "; bool, int, uint and float can be given");
  }
  throw std::invalid_argument("launch: there is no function constant of index " +
                              std::to_string(index));
}

Options to_options(bool sanitize, bool count, std::optional<std::uint64_t> shuffle) {
  return {sanitize, count, shuffle.has_value(), shuffle.value_or(0)};
}

// ---- To Python ---------------------------------------------------------------------------------
struct Field {
  const char* name;
  std::uint64_t Counters::* value;
};
constexpr Field kFields[] = {
    {"dispatches", &Counters::dispatches},
    {"threadgroups", &Counters::threadgroups},
    {"threads", &Counters::threads},
    {"device_read", &Counters::device_read},
    {"device_written", &Counters::device_written},
    {"constant_read", &Counters::constant_read},
    {"threadgroup_read", &Counters::threadgroup_read},
    {"threadgroup_written", &Counters::threadgroup_written},
    {"atomics", &Counters::atomics},
    {"simdgroup_macs", &Counters::simdgroup_macs},
    {"simd_operations", &Counters::simd_operations},
    {"threadgroup_barriers", &Counters::threadgroup_barriers},
    {"simdgroup_barriers", &Counters::simdgroup_barriers},
    {"max_threadgroup_bytes", &Counters::max_threadgroup_bytes},
    {"max_threads", &Counters::max_threads},
};
constexpr Field kDeviceFields[] = {
    {"committed", &Counters::committed},
    {"command_buffers", &Counters::command_buffers},
    {"idle", &Counters::idle},
};
using CounterMap = std::map<std::string, std::uint64_t>;

CounterMap to_map(const Counters& counters) {
  CounterMap map;
  for (const Field& field : kFields) map[field.name] = counters.*field.value;
  return map;
}

// ---- The functions -----------------------------------------------------------------------------
// A source as it was written, and what is compiled of it.
struct Written {
  std::string source, label;
  Preprocessing with;

  std::shared_ptr<CompiledLibrary> compiled(bool instrumented) const {
    const Unlocked unlocked;
    return compile(preprocess(source, label, with), label, instrumented);
  }
};

// The kernels of a source and the slots of their buffers.
std::map<std::string, std::vector<int>> kernels(const Written& written) {
  std::map<std::string, std::vector<int>> found;
  const std::shared_ptr<CompiledLibrary> library = written.compiled(false);
  for (const KernelInfo& k : library->kernels) {
    std::vector<int>& slots = found[k.name];
    for (const Parameter& p : k.buffers) slots.push_back(p.slot);
  }
  return found;
}

CounterMap launch(const Written& written, const std::string& kernel, nb::dict buffers,
                  nb::handle grid, nb::handle group, std::vector<std::size_t> threadgroup,
                  nb::dict constants, const Options& options, bool groups) {
  Dispatch dispatch{};
  dispatch.library = written.compiled(options.sanitize || options.count);
  for (const KernelInfo& k : dispatch.library->kernels)
    if (k.name == kernel) dispatch.kernel = &k;
  if (!dispatch.kernel) throw std::invalid_argument("launch: the source has no kernel " + kernel);
  for (const auto& [index, value] : constants)
    dispatch.constants.push_back(to_constant(*dispatch.library, nb::cast<int>(index), value));
  std::vector<std::unique_ptr<Buffer>> borrowed;
  for (const auto& [key, value] : buffers) {
    const int slot = nb::cast<int>(key);
    if (slot < 0 || slot >= metal::kMaxBuffers)
      throw std::invalid_argument("launch: slots are 0 to 30, not " + std::to_string(slot));
    borrowed.push_back(std::make_unique<Buffer>(slot, value));
    dispatch.buffers.push_back(borrowed.back()->binding(slot));
  }
  dispatch.threadgroup_bytes = std::move(threadgroup);
  dispatch.group = to_size("group", group);
  dispatch.grid = to_size("grid", grid);
  if (groups) dispatch.grid = grid_of(dispatch.grid, dispatch.group);
  Counters counters;
  {
    const Unlocked unlocked;
    run(dispatch, options, counters);
  }
  return to_map(counters);
}

metal::Device& simulated_device() {
  metal::Device* const d = metal::device();
  if (!d || !d->simulated())
    throw std::runtime_error("there is no simulated device: set CERMET_METAL=simulator");
  return *d;
}

Faults::Kind to_kind(const std::string& name) {
  if (name == "timeout") return Faults::Kind::timeout;
  if (name == "interactivity") return Faults::Kind::interactivity;
  if (name == "memory") return Faults::Kind::memory;
  if (name == "page") return Faults::Kind::page;
  throw std::invalid_argument("set_faults: the kind is \"" + name +
                              "\", expected \"timeout\", \"interactivity\", \"memory\" or "
                              "\"page\"");
}

// The compiler that comes with the Python package ziglang, where that is installed.
void use_ziglang() {
  const nb::object spec = nb::module_::import_("importlib.util").attr("find_spec")("ziglang");
  if (spec.is_none()) return;
  const auto folder = nb::cast<std::string>(spec.attr("submodule_search_locations")[0]);
  set_compiler(folder + "/zig");
}

}  // namespace

void bind_simulator(nb::module_& m) {
  nb::module_ sub = m.def_submodule("simulator", "Runs Metal source on the CPU.");
  sub.attr("CompileError") = m.attr("metal").attr("CompileError");
  nb::exception<SanitizerError>(sub, "SanitizerError", PyExc_RuntimeError);
  use_ziglang();
  sub.def("compiler_available", &compiler_available,
          "True when there is a compiler: that of the package ziglang, CERMET_ZIG, or zig.");
  sub.def(
      "launch",
      [](const std::string& source, const std::string& kernel, nb::dict buffers, nb::handle grid,
         nb::handle group, std::vector<std::size_t> threadgroup, nb::dict constants, bool sanitize,
         bool count, std::optional<std::uint64_t> shuffle, bool groups, const std::string& label,
         std::vector<std::string> include, std::map<std::string, std::string> macros) {
        return launch({source, label, {std::move(include), std::move(macros)}}, kernel, buffers,
                      grid, group, std::move(threadgroup), constants,
                      to_options(sanitize, count, shuffle), groups);
      },
      "source"_a, "kernel"_a, "buffers"_a, "grid"_a, "group"_a, nb::kw_only(),
      "threadgroup"_a = std::vector<std::size_t>(), "constants"_a = nb::dict(),
      "sanitize"_a = false, "count"_a = false, "shuffle"_a = nb::none(), "groups"_a = false,
      "label"_a = "kernel.metal", "include"_a = std::vector<std::string>(),
      "macros"_a = std::map<std::string, std::string>(),
      nb::sig("def launch(source: str, kernel: str, buffers: dict[int, typing.Any], "
              "grid: int | collections.abc.Sequence[int], "
              "group: int | collections.abc.Sequence[int], *, "
              "threadgroup: collections.abc.Sequence[int] = (), "
              "constants: dict[int, bool | int | float] = {}, sanitize: bool = False, "
              "count: bool = False, shuffle: int | None = None, groups: bool = False, "
              "label: str = ..., include: collections.abc.Sequence[str] = (), "
              "macros: dict[str, str] = {}) -> dict[str, int]"),
      "Compiles and runs one kernel; see `cermet.metal.simulator.launch`.");
  sub.def(
      "kernels",
      [](const std::string& source, const std::string& label, std::vector<std::string> include,
         std::map<std::string, std::string> macros) {
        return kernels({source, label, {std::move(include), std::move(macros)}});
      },
      "source"_a, nb::kw_only(), "label"_a = "kernel.metal",
      "include"_a = std::vector<std::string>(), "macros"_a = std::map<std::string, std::string>(),
      nb::sig("def kernels(source: str, *, label: str = ..., "
              "include: collections.abc.Sequence[str] = (), macros: dict[str, str] = {}) "
              "-> dict[str, list[int]]"),
      "The kernels of a source; see `cermet.metal.simulator.kernels`.");
  sub.def(
      "set_mode",
      [](bool sanitize, bool count, std::optional<std::uint64_t> shuffle) {
        set_options(to_options(sanitize, count, shuffle));
      },
      nb::kw_only(), "sanitize"_a = false, "count"_a = false, "shuffle"_a = nb::none(),
      "How the simulated device runs kernels from now on.");
  sub.def(
      "set_faults",
      [](std::optional<std::uint64_t> command_buffer, std::uint64_t count, std::uint64_t dispatch,
         const std::string& kind, const std::string& kernel, std::optional<std::uint64_t> longest,
         bool signals, bool hold, double seconds, std::optional<std::uint64_t> resources,
         std::optional<std::size_t> working_set, std::optional<std::size_t> buffer) {
        Faults f;
        f.command_buffer = command_buffer.value_or(f.command_buffer);
        f.count = count;
        f.dispatch = dispatch;
        f.kind = to_kind(kind);
        f.kernel = kernel;
        f.longest = longest.value_or(f.longest);
        f.signals = signals;
        f.hold = hold;
        f.seconds = seconds;
        f.resources = resources.value_or(f.resources);
        f.working_set = working_set.value_or(f.working_set);
        f.buffer = buffer.value_or(f.buffer);
        set_faults(f);
      },
      nb::kw_only(), "command_buffer"_a = nb::none(), "count"_a = 1, "dispatch"_a = 0,
      "kind"_a = "timeout", "kernel"_a = "", "longest"_a = nb::none(), "signals"_a = false,
      "hold"_a = false, "seconds"_a = 0.0, "resources"_a = nb::none(), "working_set"_a = nb::none(),
      "buffer"_a = nb::none(),
      "What the simulated device does wrong from now on; without arguments nothing.\n\n"
      "Args:\n"
      "    command_buffer: The first command buffer to fail, counted from now on.\n"
      "    count: How many fail in a row.\n"
      "    dispatch: After how many of its dispatches one fails.\n"
      "    kind: \"timeout\", \"interactivity\", \"memory\" or \"page\" (a page fault).\n"
      "    kernel: Command buffers fail, too, at a kernel with this in its name.\n"
      "    longest: And those of more threads in all.\n"
      "    signals: What failed signals what waits for it all the same.\n"
      "    hold: Command buffers wait until this is set back.\n"
      "    seconds: The time that a thread is said to take.\n"
      "    resources: The most buffers that may be mapped.\n"
      "    working_set: Their bytes in all.\n"
      "    buffer: The bytes of the longest one.\n\n"
      "Raises:\n"
      "    ValueError: A kind that is none of these.");
  sub.def(
      "counters",
      [] {
        const Counters counters = simulated_device().counters();
        CounterMap map = to_map(counters);
        for (const Field& field : kDeviceFields) map[field.name] = counters.*field.value;
        return map;
      },
      "What the simulated device ran since `reset_counters`.");
  sub.def(
      "reset_counters", [] { simulated_device().reset_counters(); }, "Sets the counters to zero.");
}

}  // namespace cermet::python
