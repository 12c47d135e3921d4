// Primitives of arithmetic and of order: element by element, and along axes.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "cermet/elementwise.h"
#include "graph/primitive.h"

namespace cermet {

class Elementwise final : public Primitive {
 public:
  explicit Elementwise(Op op) : Primitive(Kind::elementwise), op(op) { make_immortal(); }
  const Op op;
  CERMET_PARAMETERS(op)
  CERMET_RULES(info(op).name)
  bool differentiable() const override;
  bool differentiable_by(int i) const override { return op != Op::select || i > 0; }
  static Ref<const Primitive> instance(Op op);
};

class Reduce final : public Primitive {
 public:
  // The output keeps no reduced axis.
  Reduce(ReduceOp op, Axes axes) : Primitive(Kind::reduce), op(op), axes(std::move(axes)) {}
  const ReduceOp op;
  const Axes axes;  // ascending
  bool differentiable() const override { return op != ReduceOp::all && op != ReduceOp::any; }
  CERMET_RULES(name_of(op))
  std::string parameters() const override;
  CERMET_PARAMETERS(op, axes)
};

// The uint32 index of the extreme along an axis, which the output keeps with extent 1.
class ArgReduce final : public Primitive {
 public:
  ArgReduce(bool max, int axis) : Primitive(Kind::arg_reduce), max(max), axis(axis) {}
  const bool max;
  const int axis;
  bool differentiable() const override { return false; }
  CERMET_PARAMETERS(max, axis)
  std::string parameters() const override;
  CERMET_SHAPE_RULES(max ? "argmax" : "argmin")
};

class Scan final : public Primitive {
 public:
  Scan(ScanOp op, int axis, bool reverse, bool inclusive)
      : Primitive(Kind::scan), op(op), axis(axis), reverse(reverse), inclusive(inclusive) {}
  const ScanOp op;
  const int axis;
  const bool reverse, inclusive;
  CERMET_PARAMETERS(op, axis, reverse, inclusive)
  std::string parameters() const override;
  CERMET_RULES(name_of(op))
};

// Sorted values, or the uint32 indices that sort. With `kth` >= 0 only a partition is promised.
class Sort final : public Primitive {
 public:
  Sort(int axis, bool indices, std::int64_t kth = -1)
      : Primitive(Kind::sort), axis(axis), indices(indices), kth(kth) {}
  const int axis;
  const bool indices;
  const std::int64_t kth;
  bool differentiable() const override { return !indices; }
  CERMET_PARAMETERS(axis, indices, kth)
  std::string parameters() const override;
  CERMET_RULES(kth < 0 ? (indices ? "argsort" : "sort") : (indices ? "argpartition" : "partition"))
};

}  // namespace cermet
