// The submodule metal: the Metal device, its kernels' source, and what the backend's tests ask for.
#include <nanobind/stl/map.h>
#include <nanobind/stl/variant.h>

#include "bindings.h"
#include "cermet/eval.h"
#include "interpreter.h"
#include "metal/library.h"
#include "metal/work.h"

namespace cermet::python {

void bind_metal(nb::module_& m) {
  nb::module_ sub = m.def_submodule("metal", "The Metal device of an Apple machine.");
  nb::exception<metal::CompileError>(sub, "CompileError", PyExc_RuntimeError);
  bind_memory(sub);
  sub.def(
      "is_available", [] { return is_available({DeviceType::gpu, 0}); },
      "True when there is a Metal device.");
  sub.def(
      "device_info",
      [] {
        const Device gpu{DeviceType::gpu, 0};
        return is_available(gpu) ? device_info(gpu) : decltype(device_info(gpu))();
      },
      "Facts of the Metal device; empty without one.");
  sub.def(
      "source",
      [](const nb::args& arrays, bool complete) {
        Arrays list;
        for (nb::handle h : arrays) {
          const array* a = as_array(h);
          if (!a) throw nb::type_error("source: expected arrays");
          list.push_back(*a);
        }
        return metal_source(list, complete);
      },
      nb::sig("def source(*arrays: cermet.core.array, complete: bool = False) -> str"), "arrays"_a,
      "complete"_a = false,
      "The Metal source of the row programs that an evaluation of the arrays would run on a GPU, "
      "and the names of its other kernels. With `complete` it compiles as it is: what it includes "
      "stands before it. Needs no GPU; nothing is computed.");
  sub.def("start_capture", &start_capture, "path"_a,
          "Starts to record the GPU's work to a new .gputrace file. The environment variable "
          "MTL_CAPTURE_ENABLED must be 1. RuntimeError where the device cannot record.");
  sub.def("stop_capture", &stop_capture, "Ends the recording and writes its file.");
  sub.def("_set_hazard_tracking", &metal::set_hazard_tracking, "on"_a,
          "For tests: when off, nothing orders kernels that overlap in memory.");
  sub.def(
      "_kernel_counts",
      [] {
        if (!metal::device()) throw std::runtime_error("there is no Metal device");
        const auto counts = metal::kernel_cache().counts();
        return std::map<std::string, std::uint64_t>{
            {"kept", counts.kept}, {"dropped", counts.dropped}, {"compiled", counts.compiled}};
      },
      "For tests: how many kernels are kept, and how many were dropped and compiled so far.");
  sub.def(
      "_file",
      [](const std::string& name) {
        std::vector<std::string> seen;
        return metal::flatten(name, seen);
      },
      "name"_a, "For tests: a file of metal/ with what it includes in place.");
  sub.def(
      "_compile",
      [](const std::string& source, const std::string& label) {
        metal::Device* const gpu = metal::device();
        if (!gpu) throw std::runtime_error("there is no Metal device");
        const Unlocked unlocked;
        gpu->library(source, label);
      },
      "source"_a, "label"_a,
      "For tests: gives complete Metal source to the device's compiler. CompileError.");
}

}  // namespace cermet::python
