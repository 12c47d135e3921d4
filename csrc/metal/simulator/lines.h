// The line table of a compiled kernel library: which line of the Metal source an address is of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "metal/simulator/translate.h"

namespace cermet::metal::simulator {

class LineTable {
 public:
  LineTable() = default;
  // From the .debug_line section (DWARF 4) of an ELF image. What cannot be read is left out.
  explicit LineTable(std::span<const std::byte> elf);
  // Of an address relative to the image; line 0 when unknown.
  SourceLocation find(std::uint64_t address) const;

 private:
  struct Row {
    std::uint32_t file, line, column;
  };
  friend class LineProgram;
  static constexpr std::uint32_t kEnd = 0xffffffff;  // the file of the row after a sequence
  std::map<std::uint64_t, Row> rows_;                // by the first address
  std::vector<std::string> files_;
};

}  // namespace cermet::metal::simulator
