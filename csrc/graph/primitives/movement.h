// Primitives that move elements into new memory.
#pragma once

#include <cstddef>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "graph/primitive.h"

namespace cermet {

// A row-major copy (or the input itself where it already is).
class Contiguous final : public Primitive {
 public:
  explicit Contiguous(bool allow_col_major)
      : Primitive(Kind::contiguous), allow_col_major(allow_col_major) {}
  const bool allow_col_major;
  CERMET_PARAMETERS(allow_col_major)
  CERMET_RULES("contiguous")
};

class Concatenate final : public Primitive {
 public:
  explicit Concatenate(int axis) : Primitive(Kind::concatenate), axis(axis) {}
  const int axis;
  CERMET_PARAMETERS(axis)
  std::string parameters() const override;
  CERMET_RULES("concatenate")
  array add_jvp(const Edge& e, const array& tangent, const array& sum) const override;
};

// Inputs: a, then one index array (int32, uint32 or int64, all of one shape) for each of `axes`.
class Gather final : public Primitive {
 public:
  explicit Gather(Axes axes) : Primitive(Kind::gather), axes(std::move(axes)) {}
  const Axes axes;  // ascending
  bool differentiable_by(int i) const override { return i == 0; }
  CERMET_PARAMETERS(axes)
  std::string parameters() const override;
  CERMET_RULES("gather")
  array add_vjp(const Edge& e, const array& cotangent, const array& sum) const override;
};

// Inputs: a, updates (shape of the indices + the other axes), then the indices.
class Scatter final : public Primitive {
 public:
  Scatter(Axes axes, Update mode) : Primitive(Kind::scatter), axes(std::move(axes)), mode(mode) {}
  const Axes axes;
  const Update mode;
  bool differentiable_by(int i) const override { return i < 2; }
  CERMET_PARAMETERS(axes, mode)
  std::string parameters() const override;
  CERMET_RULES("scatter")
  array add_jvp(const Edge& e, const array& tangent, const array& sum) const override;
};

// Inputs: a and the update, which has the shape of the slice. To combine it with the slice is a
// composite: the slice is set to what they give. Planning joins several that set slices of one
// array, which have no element in common: then the other updates follow.
class SliceUpdate final : public Composite {
 public:
  struct Slice {
    Shape start, step;
    bool operator==(const Slice&) const = default;
  };
  SliceUpdate(Shape start, Shape step, Update mode)
      : Composite(mode == Update::set ? Kind::slice_update : Kind::composite),
        start(std::move(start)),
        step(std::move(step)),
        mode(mode) {}
  explicit SliceUpdate(std::vector<Slice> slices)
      : Composite(Kind::slice_update),
        start(std::move(slices[0].start)),
        step(std::move(slices[0].step)),
        mode(Update::set),
        others(std::make_move_iterator(slices.begin() + 1), std::make_move_iterator(slices.end())) {
  }
  const Shape start, step;
  const Update mode;
  const std::vector<Slice> others;
  CERMET_FIELDS(start, step, mode)  // a trace has no others
  // Of input i >= 1.
  const Shape& start_of(std::size_t i) const { return i == 1 ? start : others[i - 2].start; }
  const Shape& step_of(std::size_t i) const { return i == 1 ? step : others[i - 2].step; }
  bool equals(const Primitive& o) const override {
    const auto* s = dynamic_cast<const SliceUpdate*>(&o);
    return s && tied() == s->tied() && others == s->others;
  }
  Arrays expand(const Node& node, std::span<const array> inputs) const override;
  Rules rules() const override { return Rules::all; }
  std::string parameters() const override;
  CERMET_RULES("slice_update")
  array add_jvp(const Edge& e, const array& tangent, const array& sum) const override;
};

}  // namespace cermet
