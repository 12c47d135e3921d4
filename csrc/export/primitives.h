// All primitives that an exported function can consist of.
#pragma once

#include <typeinfo>

#include "export/fields.h"

namespace cermet::exported {

// Where a primitive is put, and what its node is to be.
struct Site {
  std::span<const array> inputs;
  const Shape& shape;
  Dtype dtype;
  StreamOrDevice s;

  const array& operator[](std::size_t i) const { return inputs[i]; }
  // std::invalid_argument unless there are so many inputs.
  void takes(std::size_t least, std::size_t most) const;
  void takes(std::size_t n) const { takes(n, n); }
  // An input that there may be.
  std::optional<array> at(std::size_t i, bool there = true) const {
    return there && i < inputs.size() ? std::optional(inputs[i]) : std::nullopt;
  }
};

struct Entry {
  std::string_view name;  // in files
  const std::type_info* type;
  void (*write)(Bytes& out, const Primitive& primitive);
  std::vector<ExportedArgument> (*describe)(const Primitive& primitive);
  Ref<const Primitive> (*read)(Reader& in);
  // The node, as the operation makes it whose primitive this is; errors are the operation's.
  array (*make)(const Primitive& primitive, const Site& site);
};
std::span<const Entry> entries();
// Null where there is none.
const Entry* entry_of(const Primitive& primitive);
const Entry* entry_named(std::string_view name);

// Those that need more than a row.
inline constexpr std::string_view kPick = "pick", kCustom = "custom_function";

}  // namespace cermet::exported
