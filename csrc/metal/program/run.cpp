// From a program to dispatches: its kernels' texts, and their launch.
#include <algorithm>
#include <cstring>
#include <limits>

#include "metal/program/text.h"

namespace cermet::metal {
namespace {

// The stages of a program, in order.
std::vector<Stage> stages_of(const ProgramRun& run) {
  if (chunks_of(run) > 1) return {Stage::partial, Stage::final};
  return {Stage::whole};
}

std::uint64_t value_of(const Source& s, const Numbers& n, const ProgramRun& run) {
  const auto axis = [&]() -> const Axis& { return n.axes[static_cast<int>(s.group)][s.index]; };
  switch (s.what) {
    case Source::What::constant: return run.constants[s.index] >> s.shift;
    case Source::What::extent: return static_cast<std::uint64_t>(axis().extent);
    case Source::What::stride: return static_cast<std::uint64_t>(axis().strides[s.port]);
    case Source::What::number: return static_cast<std::uint64_t>(n.*s.number);
  }
  return 0;
}

// The bytes of a kernel's argument struct; empty without members. Each member lies at a multiple of
// its size, as Metal lays out a struct.
std::vector<std::byte> pack(std::span<const Member> members, const Numbers& numbers,
                            const ProgramRun& run) {
  std::vector<std::byte> out;
  std::size_t alignment = 1;
  const auto align = [&](std::size_t to) { out.resize((out.size() + to - 1) / to * to); };
  for (const Member& m : members) {
    // The first bytes of a little-endian number are the narrower number.
    const std::uint64_t value = value_of(m.source, numbers, run);
    align(m.size);
    out.resize(out.size() + m.size);
    std::memcpy(out.data() + out.size() - m.size, &value, m.size);
    alignment = std::max(alignment, m.size);
  }
  align(alignment);
  return out;
}

struct Prepared final : cermet::Kernel {
  struct Part {
    ProgramKernel program;
    metal::Kernel kernel;
  };
  std::vector<Part> parts;  // a stage each
};

}  // namespace

std::vector<ProgramKernel> generate(const ProgramRun& run) {
  std::vector<ProgramKernel> out;
  for (const Stage stage : stages_of(run)) {
    const Launch launch = launch_of(run, stage);
    out.push_back(Writer(run.program, launch.ports, launch.form).kernel());
  }
  return out;
}

bool supports(const ProgramRun& run) {
  const Program& p = run.program;
  // Constants, strides and extents are arguments, of up to 8 bytes each.
  std::size_t arrays = p.inputs.size() + p.outputs.size();
  if (chunks_of(run) > 1)  // partial results are buffers, too
    arrays += static_cast<std::size_t>(
        std::count_if(p.instructions.begin(), p.instructions.end(),
                      [](const Instruction& ins) { return ins.is_reduce; }));
  const std::size_t arguments = p.constants.size() + (arrays + 1) * p.domain.size() + 8;
  if (arrays >= kMaxBuffers || 8 * arguments >= kMaxBytesArgument ||
      run.outer_size() * run.inner_size() > std::numeric_limits<std::uint32_t>::max())
    return false;
  for (const Value& v : p.values)
    if (v.dtype == float64) return false;
  return std::none_of(p.instructions.begin(), p.instructions.end(),
                      [](const Instruction& ins) { return ins.compute == float64; });
}

LayoutClass classify(const ProgramRun& run) {
  LayoutClass out;
  for (const Stage stage : stages_of(run)) {
    const Form& form = launch_of(run, stage).form;
    out.push_back(static_cast<std::uint32_t>(form.geometry) |
                  static_cast<std::uint32_t>(form.stage) << 8 |
                  static_cast<std::uint32_t>(form.chunked) << 16 |
                  static_cast<std::uint32_t>(form.long_index) << 17 |
                  static_cast<std::uint32_t>(form.blocks) << 18);
    out.push_back(static_cast<std::uint32_t>(form.lanes));
    out.push_back(static_cast<std::uint32_t>(form.elements));
    for (const auto& axes : form.axes) {
      out.push_back(static_cast<std::uint32_t>(axes.size()));
      for (const auto& steps : axes)
        for (std::size_t k = 0; k < steps.size(); ++k) {
          if (k % 16 == 0) out.push_back(0);
          out.back() |= static_cast<std::uint32_t>(steps[k]) << 2 * (k % 16);
        }
    }
  }
  return out;
}

std::shared_ptr<const cermet::Kernel> prepare(const ProgramRun& run) {
  auto out = std::make_shared<Prepared>();
  for (ProgramKernel& program : generate(run)) {
    Kernel compiled = metal::kernel(program);
    out->parts.push_back({std::move(program), std::move(compiled)});
  }
  return out;
}

Tensor tensor(const Node& n) {
  return {n.buffer, static_cast<std::size_t>(n.offset) * size_of(n.dtype), n.dtype, n.shape,
          n.strides};
}

void run(Commands& commands, const cermet::Kernel& prepared, const ProgramRun& run) {
  const Program& p = run.program;
  std::vector<Tensor> inputs, outputs, partial;
  for (const BoundArray& in : run.inputs) inputs.push_back(tensor(*in.node));
  for (const BoundArray& out : run.outputs) outputs.push_back(tensor(*out.node));
  const std::vector<Stage> stages = stages_of(run);
  if (stages.size() == 2)
    for (const Instruction& ins : p.instructions)
      if (ins.is_reduce)
        partial.push_back(commands.temporary({run.outer_size() * run.inner_size() * chunks_of(run)},
                                             accumulator(p, ins)));
  for (std::size_t i = 0; i < stages.size(); ++i) {
    const auto& [program, kernel] = static_cast<const Prepared&>(prepared).parts[i];
    const Launch launch = launch_of(run, stages[i]);
    std::vector<Argument> arguments;
    for (const auto& [from, index] : program.buffers) switch (from) {
        case ProgramKernel::From::input: arguments.push_back(in(inputs[index])); break;
        case ProgramKernel::From::output: arguments.push_back(out(outputs[index])); break;
        case ProgramKernel::From::partial:
          arguments.push_back(i == 0 ? out(partial[index]) : in(partial[index]));
      }
    const std::vector<std::byte> packed = pack(program.members, launch.numbers, run);
    if (!packed.empty()) arguments.push_back(values(packed));
    if (program.groups)
      commands.groups(kernel, arguments, launch.grid, launch.group);
    else
      commands.threads(kernel, arguments, launch.grid, launch.group);
  }
}

}  // namespace cermet::metal
