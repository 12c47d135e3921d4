// The geometry of a program's kernels follows from extents and strides alone.
#include "metal/program/geometry.h"

#include <algorithm>
#include <bit>
#include <cstdlib>

#include "graph/layout.h"
#include "metal/program/passes.h"

namespace cermet::metal {
namespace {

constexpr std::int64_t kSoloLength = 16, kSimdLength = 512, kGroupBlocks = 8;
constexpr std::int64_t kRegisterElements = 16;  // of a row, a thread
constexpr std::int64_t kRegisters = 64;         // for values kept between passes, a thread
constexpr std::int64_t kMaxIndex = 0x7fffffff;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Whether an instruction on full values reads a row's input.
bool row_input_is_read(const Program& p, std::size_t index) {
  for (const Instruction& ins : p.instructions)
    for (ValueId v : ins.in)
      if (v != kNoValue && p.values[v].from == Value::From::input && p.values[v].index == index &&
          (ins.is_reduce || p.values[ins.out].extent == Extent::full || ins.phase == 0))
        return true;
  return false;
}

std::vector<Port> ports_of(const ProgramRun& run, Stage stage) {
  const Program& p = run.program;
  std::vector<Port> ports;
  for (std::size_t i = 0; i < p.inputs.size(); ++i) {
    const ProgramInput& in = p.inputs[i];
    if (stage == Stage::final && in.extent == Extent::full) continue;
    if (stage == Stage::partial && in.extent == Extent::row && !row_input_is_read(p, i)) continue;
    ports.push_back({"in" + std::to_string(i), in.dtype, in.extent, run.inputs[i].strides, false,
                     ProgramKernel::From::input, i});
  }
  std::size_t r = 0;
  for (const Instruction& ins : p.instructions)
    if (ins.is_reduce && stage != Stage::whole) {
      ports.push_back({"partial" + std::to_string(r), accumulator(p, ins), Extent::row,
                       Strides(p.domain.size()), stage == Stage::partial,
                       ProgramKernel::From::partial, r});
      ++r;
    }
  for (std::size_t i = 0; i < p.outputs.size(); ++i) {
    const ProgramOutput& o = p.outputs[i];
    const Value& v = p.values[o.value];
    if (stage != Stage::whole && (v.extent == Extent::full) != (stage == Stage::partial)) continue;
    ports.push_back({"out" + std::to_string(i), v.dtype, v.extent, run.outputs[i].strides, true,
                     ProgramKernel::From::output, i});
  }
  return ports;
}

class Arrangement {
 public:
  Arrangement(const ProgramRun& run, Stage stage) : run_(run), p_(run.program) {
    out_.ports = ports_of(run, stage);
    form_.stage = stage;
    const int axes = static_cast<int>(p_.domain.size());
    numbers_.size = run_.size();
    numbers_.rows = run_.outer_size();
    numbers_.columns = run_.inner_size();
    numbers_.length = run_.reduced_size();
    if (stage != Stage::whole) numbers_.chunks = chunks_of(run_);
    if (stage == Stage::final) {
      list(AxisGroup::outer) = merge(0, axes, /*skip_reduced=*/true);
      numbers_.rows *= numbers_.columns;
      numbers_.columns = 1;
      numbers_.length = numbers_.chunks;
      form_.geometry = Geometry::simd;
    } else {
      form_.geometry = choose();
      if (form_.geometry == Geometry::solo) {
        list(AxisGroup::outer) = merge(0, axes, true);
      } else {
        list(AxisGroup::outer) = merge(0, p_.outer, false);
        list(AxisGroup::inner) = merge(p_.outer + p_.reduced, p_.inner(), false);
      }
      list(AxisGroup::reduced) = merge(p_.outer, p_.reduced, false);
    }
    form_.chunked = stage == Stage::partial;
    form_.blocks = stage != Stage::final && blocks() > 1;
    form_.long_index = needs_long();
    numbers_.chunk_blocks = static_cast<std::int64_t>(
        std::bit_ceil(static_cast<std::uint64_t>(ceil_div(blocks(), numbers_.chunks))));
    form_.lanes = lanes();
    form_.elements = elements();
    for (int g = 0; g < 3; ++g)
      for (const Axis& axis : numbers_.axes[g]) {
        std::vector<Step> steps;
        for (const std::int64_t stride : axis.strides) steps.push_back(step(stride));
        form_.axes[g].push_back(std::move(steps));
      }
    set_grid();
  }

  Launch take() { return std::move(out_); }

 private:
  AxisList& list(AxisGroup group) { return numbers_.axes[static_cast<int>(group)]; }

  AxisList merge(int first, int count, bool skip_reduced) const {
    Shape extents;
    std::vector<Strides> strides(out_.ports.size());
    for (int a = first; a < first + count; ++a) {
      if (skip_reduced && a >= p_.outer && a < p_.outer + p_.reduced) continue;
      extents.push_back(run_.domain[a]);
      for (std::size_t k = 0; k < strides.size(); ++k)
        strides[k].push_back(out_.ports[k].strides[a]);
    }
    merge_axes(extents, strides);
    AxisList out;
    for (std::size_t i = 0; i < extents.size(); ++i) {
      out.push_back({extents[i], {}});
      for (const Strides& s : strides) out.back().strides.push_back(s[i]);
    }
    return out;
  }

  Geometry choose() const {
    if (!p_.reduced) return Geometry::flat;
    if (numbers_.length <= kSoloLength) return Geometry::solo;
    if (numbers_.columns > 1) return Geometry::columns;
    const bool is_short = numbers_.length <= kSimdLength || (blocks() == 1 && !elements(256));
    return is_short ? Geometry::simd : Geometry::group;
  }

  std::int64_t blocks() const { return ceil_div(numbers_.length, kReductionBlock); }

  bool needs_long() const {
    if (numbers_.size > kMaxIndex || numbers_.rows * numbers_.chunks > kMaxIndex) return true;
    for (std::size_t k = 0; k < out_.ports.size(); ++k) {
      std::int64_t last = 0;
      for (const AxisList& axes : numbers_.axes)
        for (const Axis& a : axes) last += std::abs(a.strides[k]) * (a.extent - 1);
      if (last > kMaxIndex) return true;
    }
    return false;
  }

  int lanes() const {
    switch (form_.geometry) {
      case Geometry::simd: return 32;
      case Geometry::group:
        if (form_.chunked)  // a simdgroup has a block of its own
          return 32 * static_cast<int>(std::min(kGroupBlocks, numbers_.chunk_blocks));
        return blocks() <= kGroupBlocks ? 256 : 1024;
      case Geometry::columns: return 8;
      default: return 1;
    }
  }

  // The elements of a row that each of so many threads keeps in registers; 0: it can't.
  int elements(int threads) const {
    std::set<ValueId> kept;
    plan_passes(p_, &kept);
    std::int64_t elements = 1;
    while (elements * threads < numbers_.length) elements *= 2;
    return elements <= kRegisterElements &&
                   elements * static_cast<std::int64_t>(kept.size()) <= kRegisters
               ? static_cast<int>(elements)
               : 0;
  }
  int elements() const {
    switch (form_.geometry) {
      case Geometry::group: return form_.blocks ? 0 : elements(form_.lanes);
      case Geometry::simd:
      case Geometry::columns: {
        if (form_.blocks || form_.stage == Stage::final) return 0;
        std::set<ValueId> kept;
        plan_passes(p_, &kept);
        return kept.empty() ? 0 : elements(form_.lanes);
      }
      default: return 0;
    }
  }

  Step step(std::int64_t stride) const {
    if (stride == 0) return Step::none;
    if (stride == 1) return Step::one;
    return p_.reduced && stride == numbers_.length && form_.stage != Stage::final ? Step::length
                                                                                  : Step::any;
  }

  void set_grid() {
    const auto narrow = [](std::int64_t n) { return static_cast<std::uint32_t>(n); };
    const Numbers& n = numbers_;
    Size &grid = out_.grid, &group = out_.group;
    switch (form_.geometry) {
      case Geometry::flat: {
        const AxisList& axes = list(AxisGroup::inner);
        if (axes.size() > 1) {  // what is left of the domain's axes are parts of the third
          const std::int64_t x = axes[axes.size() - 1].extent, y = axes[axes.size() - 2].extent;
          grid = {narrow(x), narrow(y), narrow(n.size / x / y)};
          group.x = narrow(std::min<std::int64_t>(x, 32));
          while (2 * group.y * group.x <= 256 && group.y < grid.y) group.y *= 2;
        } else if (form_.long_index) {
          grid = {narrow(std::min<std::int64_t>(n.size, kGridWidth)),
                  narrow(ceil_div(n.size, kGridWidth))};
          group = {256};
        } else {
          grid = {narrow(n.size)};
          group = {narrow(std::min<std::int64_t>(n.size, 256))};
        }
        break;
      }
      case Geometry::solo:
        grid = {narrow(n.rows * n.columns)};
        group = {std::min<std::uint32_t>(grid.x, 256)};
        break;
      case Geometry::simd:
        grid = {narrow(ceil_div(n.rows, 8))};
        group = {256};
        break;
      case Geometry::group:
        grid = form_.chunked ? Size{narrow(n.chunks), narrow(n.rows)} : Size{narrow(n.rows)};
        group = {narrow(form_.lanes)};
        break;
      case Geometry::columns:
        grid = {narrow(ceil_div(n.columns, 32)), 1, narrow(n.rows * n.chunks)};
        group = {32, 8};
    }
  }

  const ProgramRun& run_;
  const Program& p_;
  Launch out_;
  Form& form_ = out_.form;
  Numbers& numbers_ = out_.numbers;
};

}  // namespace

Launch launch_of(const ProgramRun& run, Stage stage) { return Arrangement(run, stage).take(); }

std::int64_t reduction_chunks(std::int64_t outer, std::int64_t length, std::int64_t inner) {
  constexpr std::int64_t kMaxChunks = 256, kColumns = 32;
  constexpr std::int64_t kManyGroups = 256;  // that fill a GPU without chunks
  const std::int64_t groups = outer * (inner == 1 ? 1 : (inner + kColumns - 1) / kColumns);
  const std::int64_t blocks = (length + kReductionBlock - 1) / kReductionBlock;
  if (groups == 0 || groups >= kManyGroups || blocks <= 1) return 1;
  std::int64_t run = 1;
  while (blocks > run * std::min(kMaxChunks, 4 * kManyGroups / groups)) run *= 2;
  return (blocks + run - 1) / run;
}

std::int64_t chunks_of(const ProgramRun& run) {
  const Program& p = run.program;
  const bool reduces = std::any_of(p.instructions.begin(), p.instructions.end(),
                                   [](const Instruction& ins) { return ins.is_reduce; });
  return reduces && p.phases == 2
             ? reduction_chunks(run.outer_size(), run.reduced_size(), run.inner_size())
             : 1;
}

Dtype accumulator(const Program& p, const Instruction& ins) {
  const Dtype t = p.values[ins.out].dtype;
  return is_half(t) ? float32 : t;
}

}  // namespace cermet::metal
