// A decoder of ELF sections and DWARF line programs that believes nothing it reads.
#include "metal/simulator/lines.h"

#include <elf.h>

#include <algorithm>
#include <cstring>
#include <string_view>

namespace cermet::metal::simulator {
namespace {

using Bytes = std::span<const std::byte>;

struct OutOfBounds {};

// Reads a section from front to back. Throws OutOfBounds.
class Reader {
 public:
  explicit Reader(Bytes bytes) : bytes_(bytes) {}
  bool done() const { return bytes_.empty(); }
  std::size_t left() const { return bytes_.size(); }

  Bytes take(std::uint64_t count) {
    if (count > bytes_.size()) throw OutOfBounds();
    const Bytes taken = bytes_.first(count);
    bytes_ = bytes_.subspan(count);
    return taken;
  }
  template <class T>
  T fixed() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  std::uint64_t unsigned_leb() {
    std::uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
      const auto byte = fixed<std::uint8_t>();
      if (shift < 64) value |= std::uint64_t{byte & 0x7fu} << shift;
      if (!(byte & 0x80)) return value;
    }
  }
  std::int64_t signed_leb() {
    std::uint64_t value = 0;
    for (unsigned shift = 0;;) {
      const auto byte = fixed<std::uint8_t>();
      if (shift < 64) value |= std::uint64_t{byte & 0x7fu} << shift;
      shift += 7;
      if (byte & 0x80) continue;
      if ((byte & 0x40) && shift < 64) value |= ~std::uint64_t{0} << shift;
      return static_cast<std::int64_t>(value);
    }
  }
  std::string string() {
    const auto end = std::find(bytes_.begin(), bytes_.end(), std::byte{0});
    if (end == bytes_.end()) throw OutOfBounds();
    const Bytes text = take(end - bytes_.begin() + 1);
    return reinterpret_cast<const char*>(text.data());
  }

 private:
  Bytes bytes_;
};

template <class T>
T read_at(Bytes bytes, std::uint64_t offset) {
  if (offset > bytes.size()) throw OutOfBounds();
  return Reader(bytes.subspan(offset)).fixed<T>();
}
Bytes section_bytes(Bytes elf, const Elf64_Shdr& section) {
  if (section.sh_offset > elf.size()) throw OutOfBounds();
  return Reader(elf.subspan(section.sh_offset)).take(section.sh_size);
}

Bytes find_section(Bytes elf, std::string_view wanted) {
  const auto header = read_at<Elf64_Ehdr>(elf, 0);
  const auto section = [&](std::uint64_t index) {
    return read_at<Elf64_Shdr>(elf, header.e_shoff + index * sizeof(Elf64_Shdr));
  };
  const Bytes names = section_bytes(elf, section(header.e_shstrndx));
  for (unsigned i = 0; i < header.e_shnum; ++i) {
    const Elf64_Shdr s = section(i);
    if (s.sh_name > names.size()) throw OutOfBounds();
    if (Reader(names.subspan(s.sh_name)).string() == wanted) return section_bytes(elf, s);
  }
  return {};
}

}  // namespace

// The state machine of one compilation unit (DWARF 4, section 6.2).
class LineProgram {
 public:
  LineProgram(LineTable& table, Bytes unit) : table_(table), reader_(unit) {}

  void run() {
    if (!header()) return;
    while (!reader_.done()) step();
  }

 private:
  enum Standard : std::uint8_t {
    extended,
    copy,
    advance_pc,
    advance_line,
    set_file,
    set_column,
    negate_stmt,
    set_basic_block,
    const_add_pc,
    fixed_advance_pc
  };
  enum Extended : std::uint8_t { end_sequence = 1, set_address = 2 };

  bool header() {
    if (reader_.fixed<std::uint16_t>() != 4) return false;
    const auto length = reader_.fixed<std::uint32_t>();
    Reader header(reader_.take(length));
    minimum_length_ = header.fixed<std::uint8_t>();
    header.take(2);  // operations an instruction, default of is_stmt
    line_base_ = header.fixed<std::int8_t>();
    line_range_ = header.fixed<std::uint8_t>();
    opcode_base_ = header.fixed<std::uint8_t>();
    if (line_range_ == 0 || opcode_base_ == 0) return false;
    for (unsigned i = 1; i < opcode_base_; ++i) operands_.push_back(header.fixed<std::uint8_t>());
    std::vector<std::string> folders = {""};  // the first is the compiler's own
    for (std::string name; !(name = header.string()).empty();) folders.push_back(name + "/");
    first_file_ = static_cast<std::uint32_t>(table_.files_.size());
    for (std::string name; !(name = header.string()).empty();) {
      const std::uint64_t folder = header.unsigned_leb();
      if (folder >= folders.size()) throw OutOfBounds();
      table_.files_.push_back(folders[folder] + name);
      header.unsigned_leb();  // time
      header.unsigned_leb();  // length
    }
    return true;
  }

  void step() {
    const auto opcode = reader_.fixed<std::uint8_t>();
    if (opcode >= opcode_base_) {
      const unsigned adjusted = opcode - opcode_base_;
      address_ += std::uint64_t{adjusted / line_range_} * minimum_length_;
      line_ += line_base_ + static_cast<int>(adjusted % line_range_);
      return emit();
    }
    switch (opcode) {
      case extended: return extended_step();
      case copy: return emit();
      case advance_pc: address_ += reader_.unsigned_leb() * minimum_length_; break;
      case advance_line: line_ += reader_.signed_leb(); break;
      case set_file: file_ = reader_.unsigned_leb(); break;
      case set_column: column_ = reader_.unsigned_leb(); break;
      case const_add_pc:
        address_ += std::uint64_t{(255 - opcode_base_) / line_range_} * minimum_length_;
        break;
      case fixed_advance_pc: address_ += reader_.fixed<std::uint16_t>(); break;
      default:
        for (int i = 0; i < operands_[opcode - 1]; ++i) reader_.unsigned_leb();
    }
  }

  void extended_step() {
    Reader operation(reader_.take(reader_.unsigned_leb()));
    const auto code = operation.fixed<std::uint8_t>();
    if (code == set_address) {
      address_ = operation.fixed<std::uint64_t>();
    } else if (code == end_sequence) {
      table_.rows_.try_emplace(address_, LineTable::Row{LineTable::kEnd, 0, 0});
      address_ = 0, file_ = 1, line_ = 1, column_ = 0;
    }
  }

  void emit() {
    table_.rows_[address_] = {first_file_ + static_cast<std::uint32_t>(file_) - 1,
                              static_cast<std::uint32_t>(line_),
                              static_cast<std::uint32_t>(column_)};
  }

  LineTable& table_;
  Reader reader_;
  unsigned minimum_length_ = 1, line_range_ = 1, opcode_base_ = 1;
  int line_base_ = 0;
  std::vector<std::uint8_t> operands_;  // of the standard operations
  std::uint32_t first_file_ = 0;
  std::uint64_t address_ = 0, file_ = 1, column_ = 0;
  std::int64_t line_ = 1;
};

LineTable::LineTable(Bytes elf) {
  try {
    Reader section(find_section(elf, ".debug_line"));
    while (!section.done()) LineProgram(*this, section.take(section.fixed<std::uint32_t>())).run();
  } catch (const OutOfBounds&) {
  }
}

SourceLocation LineTable::find(std::uint64_t address) const {
  auto row = rows_.upper_bound(address);
  // The compiler marks code of no line with line 0: the line before is the best answer.
  while (row != rows_.begin()) {
    const Row& r = (--row)->second;
    if (r.file >= files_.size()) break;  // the end of a sequence
    if (r.line == 0) continue;
    return {files_[r.file], static_cast<int>(r.line), static_cast<int>(r.column)};
  }
  return {};
}

}  // namespace cermet::metal::simulator
