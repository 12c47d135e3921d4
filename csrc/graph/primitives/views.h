// Primitives whose result shares its input's memory where the layout allows.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "graph/primitive.h"

namespace cermet {

class Broadcast final : public Primitive {
 public:
  Broadcast() : Primitive(Kind::broadcast) { make_immortal(); }
  CERMET_RULES("broadcast_to")
};

class Reshape final : public Primitive {
 public:
  explicit Reshape(Shape spec) : Primitive(Kind::reshape), spec(std::move(spec)) {}
  // An extent, -1 for what is left, or an axis of the input whose extent it is.
  const Shape spec;
  static constexpr std::int64_t extent_of(std::int64_t axis) { return -2 - axis; }
  CERMET_PARAMETERS(spec)
  std::string parameters() const override;
  CERMET_RULES("reshape")
};

class Transpose final : public Primitive {
 public:
  explicit Transpose(Axes axes) : Primitive(Kind::transpose), axes(std::move(axes)) {}
  const Axes axes;
  CERMET_PARAMETERS(axes)
  std::string parameters() const override;
  CERMET_RULES("transpose")
};

// Element i of an axis is element start + i * step of the input; the node's shape has the counts.
class Slice final : public Primitive {
 public:
  Slice(Shape start, Shape step)
      : Primitive(Kind::slice), start(std::move(start)), step(std::move(step)) {}
  const Shape start, step;
  CERMET_PARAMETERS(start, step)
  std::string parameters() const override;
  CERMET_RULES("slice")
  array add_vjp(const Edge& e, const array& cotangent, const array& sum) const override;
};

class AsStrided final : public Primitive {
 public:
  AsStrided(Strides strides, std::int64_t offset)
      : Primitive(Kind::as_strided), strides(std::move(strides)), offset(offset) {}
  const Strides strides;
  const std::int64_t offset;
  CERMET_PARAMETERS(strides, offset)
  CERMET_RULES("as_strided")
  array add_vjp(const Edge& e, const array& cotangent, const array& sum) const override;
};

// The same bytes as the node's dtype. Between complex64 and its parts as float32 it has a
// derivative.
class Bitcast final : public Primitive {
 public:
  Bitcast() : Primitive(Kind::bitcast) { make_immortal(); }
  CERMET_RULES("view")
};

// The first input; the others must be computed before it.
class Identity final : public Primitive {
 public:
  enum class Why : std::uint8_t { tracer, stop_gradient, depends };  // numbers: in exported files
  explicit Identity(Why why) : Primitive(Kind::identity), why(why) { make_immortal(); }
  const Why why;
  bool differentiable() const override { return why != Why::stop_gradient; }
  bool differentiable_by(int i) const override { return i == 0; }
  CERMET_PARAMETERS(why)
  static Ref<const Primitive> instance(Why why);
  CERMET_RULES("identity")
};

// Result `index` of a node with several. It knows all of them, so that a transform can ask for one
// that the program dropped.
class Pick final : public Primitive {
 public:
  Pick(int index, std::shared_ptr<const Results> results)
      : Primitive(Kind::pick), index(index), results(std::move(results)) {}
  const int index;
  const std::shared_ptr<const Results> results;
  CERMET_PARAMETERS(index)
  std::string_view name() const override { return "pick"; }
};

}  // namespace cermet
