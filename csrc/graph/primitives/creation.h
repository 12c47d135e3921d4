// Primitives that make arrays: of numbers, of random bits, of what a file has.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "graph/primitive.h"

namespace cermet {

class Constant final : public Primitive {
 public:
  Constant() : Primitive(Kind::constant) { make_immortal(); }
  std::string_view name() const override { return "constant"; }
  Shape output_shape(const Node& node, std::span<const array>) const override;
};

class Arange final : public Primitive {
 public:
  Arange(double start, double step);
  Arange(double start, double step, std::int64_t first, std::int64_t by)
      : Primitive(Kind::arange), start(start), step(step), first(first), by(by) {}
  const double start, step;
  const std::int64_t first, by;  // for elements that are integers
  CERMET_PARAMETERS(start, step, first, by)
  std::string_view name() const override { return "arange"; }
  Shape output_shape(const Node& node, std::span<const array>) const override;
};

// Threefry over a counter: input keys (..., 2) uint32, output (..., n) of unsigned elements, where
// the node's last axis is n. Bytes of the stream are the same for every element width.
class RandomBits final : public Primitive {
 public:
  RandomBits() : Primitive(Kind::random_bits) { make_immortal(); }
  bool differentiable() const override { return false; }
  CERMET_SHAPE_RULES("random_bits")
};

// A leaf whose elements come from outside, from a file say, when they are first asked for. What
// goes wrong there is an error of the system (std::system_error): then it can be asked for again.
class Load : public Primitive {
 public:
  Load() : Primitive(Kind::load) {}
  std::string_view name() const override { return "load"; }
  // Only the object itself is known to give the same.
  bool equals(const Primitive& o) const override { return this == &o; }
  // Bytes of the row-major elements from `begin` on, by any thread. Where `in_pieces`, several
  // threads may read a piece each, of a multiple of 16 bytes; else all bytes are read at once.
  virtual void read(std::uint64_t begin, std::span<std::byte> out) const = 0;
  virtual bool in_pieces() const { return true; }
};

}  // namespace cermet
