// The argument struct of a generated kernel: its members are named when the text is written, their
// values are read from the numbers of each launch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "metal/program/geometry.h"

namespace cermet::metal {

// The struct's bytes; empty without members.
std::vector<std::byte> pack(std::span<const Member> members, const Numbers& numbers,
                            std::span<const std::uint64_t> constants);

}  // namespace cermet::metal
