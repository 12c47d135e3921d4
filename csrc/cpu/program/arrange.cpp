// The order of a program's axes, and transposed inputs.
#include "cpu/program/arrange.h"

#include <algorithm>
#include <vector>

#include "cpu/layout.h"

namespace cermet::cpu {
namespace {

constexpr std::int64_t kWorth = 8;          // elements along both axes of a transposition
constexpr std::int64_t kSmall = 16 * 1024;  // elements that are read as they lie
constexpr std::int64_t kPart = 128 * 1024;  // elements of a part, about
constexpr std::int64_t kThin = 64;          // of the part along the axis that is cut

// The axis along which elements are adjacent, or -1.
int unit_axis(std::span<const std::int64_t> domain, const Strides& strides) {
  for (int i = static_cast<int>(domain.size()) - 1; i >= 0; --i)
    if (strides[i] == 1 && domain[i] >= kWorth) return i;
  return -1;
}

// The one that all arrays of full extent have, or -1.
int common_unit_axis(const Binding& b, const SmallVector<bool, 16>& full) {
  int common = -1;
  for (std::size_t i = 0; i < full.size(); ++i) {
    if (!full[i]) continue;
    const auto& port = i < b.inputs.size() ? b.inputs[i] : b.outputs[i - b.inputs.size()];
    const int axis = unit_axis(b.domain, port.strides);
    if (axis < 0 || (common >= 0 && axis != common)) return -1;
    common = axis;
  }
  return common;
}

}  // namespace

Arranged::Arranged(const Program& p, const Binding& given) : binding(given), outer(p.outer) {
  Full full;
  for (const ProgramInput& in : p.inputs) full.push_back(in.extent == Extent::full);
  for (const ProgramOutput& o : p.outputs) full.push_back(p.values[o.value].extent == Extent::full);
  arrange(p.reduced, full);
}
Arranged::Arranged(const Lowered& p, const Binding& given) : binding(given), outer(p.outer) {
  Full full;
  for (const Port& port : p.ports) full.push_back(port.extent == Extent::full);
  arrange(p.reduced, full);
}

void Arranged::arrange(int reduced, const Full& full) {
  const int axes = static_cast<int>(binding.domain.size()), inner = axes - outer - reduced;
  if (!reduced || axes == reduced) return;
  const int unit = common_unit_axis(binding, full);
  SmallVector<int, 8> order;
  if (inner == 0 && unit >= 0 && unit < outer) {  // what is adjacent becomes the columns
    for (int i = 0; i < axes; ++i)
      if (i != unit) order.push_back(i);
    order.push_back(unit);
    --outer;
  } else if (inner > 0 && unit >= 0 && unit == outer + reduced - 1) {  // the row
    for (int i = 0; i < outer; ++i) order.push_back(i);
    for (int i = outer + reduced; i < axes; ++i) order.push_back(i);
    for (int i = outer; i < outer + reduced; ++i) order.push_back(i);
    outer += inner;
  } else {
    return;
  }
  move({order.data(), order.size()});
}

void Arranged::move(std::span<const int> order) {
  for (const int axis : order) domain_.push_back(binding.domain[axis]);
  const auto moved = [&](std::span<const BoundPort> ports, auto& out) {
    for (const BoundPort& port : ports) {
      Strides strides;
      for (const int axis : order) strides.push_back(port.strides[axis]);
      out.push_back({port.data, strides});
    }
  };
  moved(binding.inputs, inputs_);
  moved(binding.outputs, outputs_);
  binding.domain = {domain_.data(), domain_.size()};
  binding.inputs = {inputs_.data(), inputs_.size()};
  binding.outputs = {outputs_.data(), outputs_.size()};
}

bool is_transposed(std::span<const std::int64_t> domain, const Strides& strides) {
  if (domain.size() < 2 || domain.back() < kWorth || strides.back() == 0 || strides.back() == 1)
    return false;
  std::int64_t n = 1;
  for (const std::int64_t d : domain) n *= d;
  return n >= kSmall && unit_axis(domain, strides) >= 0;
}

void run_in_parts(const Lowered& program, const Binding& binding, bool whole,
                  const std::function<void(const Binding&)>& run) {
  SmallVector<bool, 8> copied;
  bool any = false;
  for (std::size_t i = 0; i < binding.inputs.size(); ++i) {
    copied.push_back(program.ports[i].extent == Extent::full &&
                     is_transposed(binding.domain, binding.inputs[i].strides));
    any |= copied.back();
  }
  if (!any) return run(binding);

  // Cut along the first axis, or where nothing is reduced the longest but the last: so the runs
  // that are adjacent in arrays stay so. A domain that is all reduced stays whole.
  const bool flat = program.layout.geometry == Geometry::flat;
  const auto longest = std::max_element(binding.domain.begin(), binding.domain.end() - 1);
  const std::size_t axis = flat ? static_cast<std::size_t>(longest - binding.domain.begin()) : 0;
  std::int64_t n = 1;
  for (const std::int64_t d : binding.domain) n *= d;
  const std::int64_t extent = binding.domain[axis];
  whole |= !flat && program.layout.outer == 0;
  const std::int64_t wanted = (kPart / (n / extent) + 15) / 16 * 16;
  const std::int64_t part = whole ? extent : std::clamp(wanted, std::min(kThin, extent), extent);

  parallel_for(extent, part, [&](std::int64_t begin, std::int64_t end) {
    Shape domain(binding.domain.begin(), binding.domain.end());
    domain[axis] = end - begin;
    std::vector<Scratch> copies;
    const auto moved = [&](const BoundPort& port, Dtype dtype) {
      const auto width = static_cast<std::int64_t>(size_of(dtype));
      return BoundPort{port.data ? port.data + begin * port.strides[axis] * width : nullptr,
                       port.strides};
    };
    SmallVector<BoundPort, 8> inputs, outputs;
    for (std::size_t i = 0; i < binding.inputs.size(); ++i) {
      const Dtype dtype = program.ports[i].dtype;
      BoundPort port = moved(binding.inputs[i], dtype);
      if (copied[i]) {
        const Tensor& copy = copies.emplace_back(dtype, domain).tensor;
        cpu::copy({port.data, dtype, domain, port.strides}, copy);
        port = {copy.data, copy.strides};
      }
      inputs.push_back(port);
    }
    for (std::size_t i = 0; i < binding.outputs.size(); ++i)
      outputs.push_back(moved(binding.outputs[i], program.ports[program.inputs + i].dtype));
    run({{domain.data(), domain.size()},
         binding.constants,
         {inputs.data(), inputs.size()},
         {outputs.data(), outputs.size()}});
  });
}

}  // namespace cermet::cpu
