// Primitives of a user's own: functions of the CPU, kernels of the GPU.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "graph/primitive.h"

namespace cermet {

// Several results with rules of their own.
class Custom : public Several {
 public:
  Custom() : Several(Kind::custom) {}
  // Its rules may be any function: only the object itself is known to be the same.
  bool equals(const Primitive& o) const override { return this == &o; }
  // Computes the outputs from evaluated inputs, on the CPU. Runs without Python's lock.
  virtual Arrays run(std::span<const array> inputs) const = 0;
};

// A user's kernel for the GPU: its source and how it is launched.
class GpuKernel final : public Custom {
 public:
  // What an input brings along besides its elements.
  struct Facts {
    bool shape, strides, ndim;
  };
  struct Launch {
    std::string kernel, source;
    std::array<std::uint32_t, 3> grid, group;
    std::vector<Facts> inputs;
    bool row_contiguous;
    std::optional<double> init;
    Results results;
  };
  explicit GpuKernel(Launch launch) : launch(std::move(launch)) {}
  const Launch launch;
  std::string_view name() const override { return launch.kernel; }
  Arrays run(std::span<const array>) const override {
    throw std::invalid_argument("metal_kernel: " + launch.kernel + " runs on the GPU only");
  }
};

}  // namespace cermet
