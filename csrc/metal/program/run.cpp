// From a program to dispatches: its kernels' texts, and their launch.
#include <algorithm>
#include <limits>

#include "eval/outputs.h"
#include "metal/program/text.h"

namespace cermet::metal {
namespace {

// The stages of a program, in order.
std::vector<Stage> stages_of(const Program& p) {
  if (chunks_of(p) > 1) return {Stage::partial, Stage::final};
  return {Stage::whole};
}

}  // namespace

std::vector<ProgramKernel> generate(const Program& p) {
  std::vector<ProgramKernel> out;
  for (const Stage stage : stages_of(p)) {
    const Launch launch = launch_of(p, stage);
    out.push_back(Writer(p, launch.ports, launch.form).kernel());
  }
  return out;
}

bool supports(const Program& p) {
  // Constants, strides and extents are arguments, of up to 8 bytes each.
  std::size_t arrays = p.inputs.size() + p.outputs.size();
  if (chunks_of(p) > 1)  // partial results are buffers, too
    arrays += static_cast<std::size_t>(
        std::count_if(p.instructions.begin(), p.instructions.end(),
                      [](const Instruction& ins) { return ins.is_reduce; }));
  const std::size_t arguments = p.constants.size() + (arrays + 1) * p.domain.size() + 8;
  if (arrays >= kMaxBuffers || 8 * arguments >= kMaxBytesArgument ||
      p.outer_size() * p.inner_size() > std::numeric_limits<std::uint32_t>::max())
    return false;
  for (const Value& v : p.values)
    if (v.dtype == float64) return false;
  return std::none_of(p.instructions.begin(), p.instructions.end(),
                      [](const Instruction& ins) { return ins.compute == float64; });
}

bool may_overwrite(const Program& p, std::size_t input, const ProgramOutput& output) {
  return p.inputs[input].source.dtype() == p.values[output.value].dtype;
}

Tensor tensor(const Node& n) {
  return {n.buffer, static_cast<std::size_t>(n.offset) * size_of(n.dtype), n.dtype, n.shape,
          n.strides};
}

void run(Commands& commands, const Program& p, const std::vector<bool>& donatable) {
  place_outputs(p, donatable, may_overwrite,
                [&](std::size_t bytes) { return commands.allocate(bytes); });
  if (p.size() == 0) return;
  std::vector<Tensor> inputs, outputs, partial;
  for (const ProgramInput& in : p.inputs) inputs.push_back(tensor(*in.source.node()));
  for (const ProgramOutput& o : p.outputs) outputs.push_back(tensor(*o.nodes[0]));
  const std::vector<Stage> stages = stages_of(p);
  if (stages.size() == 2)
    for (const Instruction& ins : p.instructions)
      if (ins.is_reduce)
        partial.push_back(commands.temporary({p.outer_size() * p.inner_size() * chunks_of(p)},
                                             accumulator(p, ins)));
  for (const Stage stage : stages) {
    const Launch launch = launch_of(p, stage);
    const ProgramKernel kernel = Writer(p, launch.ports, launch.form).kernel();
    std::vector<Argument> arguments;
    for (const auto& [from, index] : kernel.buffers) switch (from) {
        case ProgramKernel::From::input: arguments.push_back(in(inputs[index])); break;
        case ProgramKernel::From::output: arguments.push_back(out(outputs[index])); break;
        case ProgramKernel::From::partial:
          arguments.push_back(stage == Stage::partial ? out(partial[index]) : in(partial[index]));
      }
    const std::vector<std::byte> packed = pack(kernel.members, launch.numbers, p.constants);
    if (!packed.empty()) arguments.push_back(values(packed));
    const Kernel& compiled = metal::kernel(kernel);
    if (kernel.groups)
      commands.groups(compiled, arguments, launch.grid, launch.group);
    else
      commands.threads(compiled, arguments, launch.grid, launch.group);
  }
}

}  // namespace cermet::metal
