// What writing and reading of exported functions share. docs/export.md has the layout.
#pragma once

#include <string>
#include <vector>

#include "export/fields.h"

namespace cermet::exported {

inline constexpr char kMagic[] = {'C', 'E', 'R', 'M', 'E', 'T', 'F', 'N'};
inline constexpr std::uint32_t kVersion = 1;
inline constexpr std::uint64_t kHeader = 32, kAlignment = 64;
inline constexpr std::uint64_t aligned(std::uint64_t n) {
  return (n + kAlignment - 1) / kAlignment * kAlignment;
}

// How a constant is held: its elements, a number that a program writes, or one for all elements.
enum class Held : std::uint8_t { stored, scalar, filled };
// Where a node is computed: on the default stream, or a device that was named.
enum class On : std::uint8_t { usual, cpu, gpu };

// What a function takes.
struct Signature {
  bool shapeless;
  std::size_t positional;
  std::vector<std::string> names;  // of the others
  Results inputs;

  // Whether arrays of these shapes and types can be given for the inputs.
  bool takes(const Results& given) const {
    return std::equal(given.begin(), given.end(), inputs.begin(), inputs.end(),
                      [&](const Result& a, const Result& b) {
                        return a.dtype == b.dtype &&
                               (shapeless ? a.shape.size() == b.shape.size() : a.shape == b.shape);
                      });
  }
  bool is_like(const Signature& o) const {
    return positional == o.positional && names == o.names && takes(o.inputs);
  }
  // "  float32 (2, 3)\n  y: float32 (2, 3)"
  std::string text() const {
    std::string lines;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (i > 0) lines += "\n";
      lines += "  " + (i < positional ? "" : names[i - positional] + ": ");
      lines += std::string(name_of(inputs[i].dtype)) + " " + to_string(inputs[i].shape);
    }
    return inputs.empty() ? "  nothing" : lines;
  }
  void write(Bytes& out) const {
    out.flag(shapeless);
    out.count(positional);
    put(out, names);
    put(out, inputs);
  }
  static Signature read(Reader& in) {
    Signature s{in.flag(), in.count(0), get<std::vector<std::string>>(in), get<Results>(in)};
    if (s.positional > s.inputs.size() || s.names.size() != s.inputs.size() - s.positional)
      throw std::invalid_argument("inputs and their names differ in number");
    return s;
  }
};

// A, B, ..., Z, AA, ...
inline std::string made_up_name(std::size_t i) {
  std::string name(1, static_cast<char>('A' + i % 26));
  return i < 26 ? name : made_up_name(i / 26 - 1) + name;
}

}  // namespace cermet::exported
