// Traces as text.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "cpu/machine/generate.h"

namespace cermet::cpu::machine {

std::string_view name_of(Micro op);
// The steps that count, one a line: values t0, t1 ..., and p0, p1 ..., places in memory.
std::string to_string(const Trace& trace);

// While it lives, what its thread compiles is written down and not made.
class Listing {
 public:
  Listing();
  ~Listing();
  Listing(const Listing&) = delete;
  Listing& operator=(const Listing&) = delete;
  static Listing* current();
  // Nothing generated: this machine has no code.
  void add(const Trace& trace, const std::optional<Generated>& generated);
  const std::string& text() const { return text_; }

 private:
  Listing* const outer_;
  std::string text_;
};

}  // namespace cermet::cpu::machine
