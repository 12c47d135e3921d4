#include "eval/views.h"

#include <cstdint>
#include <cstring>

#include "graph/layout.h"
#include "graph/primitives/views.h"

namespace cermet {

std::optional<Strides> reshaped(const Shape& from, const Strides& strides, const Shape& shape) {
  // Merge the input's axes into runs of evenly spaced elements, then cut the runs.
  Shape extents = from;
  Strides steps = strides;
  merge_axes(extents, {&steps, 1});
  Strides out(shape.size());
  int run = static_cast<int>(extents.size()) - 1;
  std::int64_t left = run >= 0 ? extents[run] : 1, step = run >= 0 ? steps[run] : 1;
  for (int i = static_cast<int>(shape.size()) - 1; i >= 0; --i) {
    if (shape[i] == 1) {
      out[i] = step;
      continue;
    }
    if (left == 1 && run > 0) {
      --run;
      left = extents[run];
      step = steps[run];
    }
    if (left % shape[i] != 0) return std::nullopt;
    out[i] = step;
    step *= shape[i];
    left /= shape[i];
  }
  return out;
}

namespace {

void reshape_value(const Node& in, Node& node, const CopyValue& copy) {
  if (auto strides =
          node.size == 0 ? row_major(node.shape) : reshaped(in.shape, in.strides, node.shape)) {
    node.strides = std::move(*strides);
    return;
  }
  copy(in, node);
  node.strides = row_major(node.shape);
}

void bitcast_value(const Node& in, Node& node, const CopyValue& copy) {
  const auto from = static_cast<std::int64_t>(size_of(in.dtype));
  const auto to = static_cast<std::int64_t>(size_of(node.dtype));
  node.strides = in.strides;
  if (from == to) return;
  // The last axis changes its extent, so its elements must be adjacent and the others whole.
  bool fits = in.strides.back() == 1 || in.shape.back() == 1;
  for (std::size_t i = 0; i + 1 < in.shape.size(); ++i) fits &= in.strides[i] * from % to == 0;
  fits &= in.offset * from % to == 0;
  // Borrowed memory may begin anywhere.
  fits &= reinterpret_cast<std::uintptr_t>(in.buffer->data()) % static_cast<std::size_t>(to) == 0;
  if (!fits) {
    copy(in, node);
    node.strides = row_major(node.shape);
    return;
  }
  for (std::size_t i = 0; i + 1 < in.shape.size(); ++i) node.strides[i] = in.strides[i] * from / to;
  node.strides.back() = 1;
  node.offset = in.offset * from / to;
}

}  // namespace

void materialize(const Node& constant, Node& into) {
  into.buffer = allocate(size_of(constant.dtype));
  std::memcpy(into.buffer->data(), &constant.scalar, size_of(constant.dtype));
  into.strides = {};
  into.offset = 0;
}

void make_view(Node& node, const Node& source, const CopyValue& copy) {
  const Primitive& p = *node.primitive;
  const bool picks = p.kind() == Kind::pick && !source.outputs.empty();
  const Node& from = picks ? *source.outputs[static_cast<const Pick&>(p).index].node() : source;
  Node constant;  // stands for a source that is a constant
  if (from.constant) {
    constant.dtype = from.dtype;
    constant.size = 1;
    materialize(from, constant);
  }
  const Node& in = from.constant ? constant : from;
  node.buffer = in.buffer;
  node.offset = in.offset;
  switch (p.kind()) {
    case Kind::broadcast: {
      node.strides = Strides(node.shape.size());
      const std::size_t skip = node.shape.size() - in.shape.size();
      for (std::size_t i = 0; i < in.shape.size(); ++i)
        if (in.shape[i] != 1) node.strides[skip + i] = in.strides[i];
      break;
    }
    case Kind::reduce:  // over unit axes
    case Kind::reshape: reshape_value(in, node, copy); break;
    case Kind::transpose: {
      node.strides = {};
      for (int a : static_cast<const Transpose&>(p).axes) node.strides.push_back(in.strides[a]);
      break;
    }
    case Kind::slice: {
      const auto& s = static_cast<const Slice&>(p);
      node.strides = in.strides;
      for (std::size_t i = 0; i < s.start.size(); ++i) {
        if (node.size) node.offset += s.start[i] * in.strides[i];
        node.strides[i] *= s.step[i];
      }
      break;
    }
    case Kind::as_strided: {
      // The strides are over the row-major elements.
      const auto& s = static_cast<const AsStrided&>(p);
      if (!is_row_major(in.shape, in.strides)) copy(in, node);
      node.strides = s.strides;
      if (node.size) node.offset += s.offset;
      break;
    }
    case Kind::bitcast: bitcast_value(in, node, copy); break;
    default: node.strides = in.strides;  // identity, pick and what its expansion stands for
  }
}

}  // namespace cermet
