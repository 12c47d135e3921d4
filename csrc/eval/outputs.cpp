// Which outputs take over an input's memory is decided here, once for all backends.
#include "eval/outputs.h"

#include <optional>

namespace cermet {
namespace {

// Whether both lie in memory in the order of the domain.
bool in_order(const Program& p, const ProgramInput& in, const ProgramOutput& out) {
  const Node& n = *in.source.node();
  if (in.axes.size() != p.domain.size() || n.strides != row_major(n.shape)) return false;
  std::int64_t step = 1;
  for (std::size_t axis = p.domain.size(); axis-- > 0; step *= p.domain[axis])
    if (in.axes[axis] != static_cast<int>(axis) || out.strides[axis] != step) return false;
  return true;
}

}  // namespace

bool place_outputs(const Program& p, std::vector<bool> donatable, MayOverwrite may_overwrite,
                   const std::function<Ref<Buffer>(std::size_t)>& allocate) {
  // A pass before the last has to find its inputs again, and a row's value is read for all of it.
  const auto donor = [&](const ProgramOutput& out) -> std::optional<std::size_t> {
    if (p.phases != 1 || p.values[out.value].extent != Extent::full) return std::nullopt;
    for (std::size_t i = 0; i < p.inputs.size(); ++i)
      if (donatable[i] && p.inputs[i].extent == Extent::full && in_order(p, p.inputs[i], out) &&
          may_overwrite(p, i, out))
        return i;
    return std::nullopt;
  };
  bool overwrites = false;
  for (const ProgramOutput& out : p.outputs) {
    Node& first = *out.nodes[0];
    if (const auto input = donor(out)) {
      const Node& n = *p.inputs[*input].source.node();
      donatable[*input] = false;
      overwrites = true;
      first.buffer = n.buffer;
      first.offset = n.offset;
    } else {
      first.buffer = allocate(static_cast<std::size_t>(first.size) * size_of(first.dtype));
      first.offset = 0;
    }
    for (Node* n : out.nodes) {
      n->buffer = first.buffer;
      n->offset = first.offset;
      n->strides = row_major(n->shape);
    }
  }
  return overwrites;
}

}  // namespace cermet
