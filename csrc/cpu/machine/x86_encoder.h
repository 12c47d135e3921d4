// How instructions of x86-64 are written down: VEX and EVEX, general registers, constants behind
// the code.
#pragma once

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <vector>

#include "cpu/machine/pool.h"

namespace cermet::cpu::machine::x86 {

// General registers by their numbers.
constexpr int rax = 0, rcx = 1, rdx = 2, rbx = 3, rsp = 4, rbp = 5, rsi = 6, rdi = 7;
constexpr int r8 = 8, r9 = 9, r10 = 10, r11 = 11, r12 = 12, r13 = 13, r14 = 14, r15 = 15;

// The escape before an opcode: 0F, 0F38, 0F3A; and its prefix: none, 66, F3, F2.
enum Map : std::uint8_t { kMap0F = 1, kMap38 = 2, kMap3A = 3 };
enum Prefix : std::uint8_t { kNone = 0, k66 = 1, kF3 = 2, kF2 = 3 };
struct Opcode {
  Map map;
  Prefix prefix;
  std::uint8_t byte;
  bool wide = false;  // W
};

// The last operand of an instruction: a register, memory, or a constant.
struct Last {
  enum class Where : std::uint8_t { reg, memory, constant } where;
  int base = 0, index = -1, scale = 0;  // the register is `base`
  std::int32_t offset = 0;
  std::uint32_t bits = 0;

  static Last reg(int r) { return {Where::reg, r}; }
  static Last at(int base, std::int32_t offset) { return {Where::memory, base, -1, 0, offset}; }
  static Last constant(std::uint32_t bits) { return {Where::constant, 0, -1, 0, 0, bits}; }
};

// What an instruction may have: a mask, under which lanes are kept or zeros; the part of a vector
// that its memory has (a half: 2), an immediate, a length of 2 (512 bits) or 0 (128).
struct Options {
  int mask = 0;
  bool zeros = false;
  int part = 1;
  int immediate = -1;
  int length = 2;
};

class Encoder {
 public:
  // `wide`: vectors of 64 bytes, by EVEX; else of 32, by VEX.
  explicit Encoder(bool wide) : wide_(wide), bytes_(wide ? 64 : 32) {}

  std::size_t size() const { return code_.size(); }

  void bytes(std::initializer_list<std::uint8_t> list) {
    code_.insert(code_.end(), list.begin(), list.end());
  }
  void word(std::int32_t w) {
    const auto u = static_cast<std::uint32_t>(w);
    for (int k = 0; k < 32; k += 8) code_.push_back(static_cast<std::uint8_t>(u >> k));
  }
  void set_word(std::size_t at, std::int32_t w) { std::memcpy(&code_[at], &w, 4); }

  void push(int r) { r >= 8 ? bytes({0x41, low(0x50, r)}) : bytes({low(0x50, r)}); }
  void pop(int r) { r >= 8 ? bytes({0x41, low(0x58, r)}) : bytes({low(0x58, r)}); }
  static std::uint8_t low(int opcode, int r) { return static_cast<std::uint8_t>(opcode | (r & 7)); }
  void general(std::uint8_t opcode, int r, const Last& m) {
    bytes({static_cast<std::uint8_t>(0x48 | (r >> 3) << 2 | m.base >> 3), opcode});
    operand(r, m, 1, 0);
  }
  void general_load(int r, const Last& from) { general(0x8b, r, from); }
  void general_store(int r, const Last& to) { general(0x89, r, to); }

  // ---- instructions ----

  // ModRM with what follows. `unit`: of short offsets; `after`: bytes of the instruction behind it.
  void operand(int reg, const Last& m, int unit, int after) {
    const int field = (reg & 7) << 3;
    if (m.where == Last::Where::reg) return bytes({low(0xc0 | field, m.base)});
    if (m.where == Last::Where::constant) {
      bytes({static_cast<std::uint8_t>(field | 5)});
      fixups_.push_back({code_.size(), code_.size() + 4 + after, pool_.place_of(m.bits)});
      return word(0);
    }
    const bool shorter = m.offset % unit == 0 && m.offset / unit >= -128 && m.offset / unit < 128;
    const int mode = m.offset == 0 && (m.base & 7) != rbp ? 0 : shorter ? 0x40 : 0x80;
    if (m.index >= 0 || (m.base & 7) == rsp) {
      bytes({static_cast<std::uint8_t>(mode | field | 4),
             low(m.scale << 6 | (m.index < 0 ? 4 : m.index & 7) << 3, m.base)});
    } else {
      bytes({low(mode | field, m.base)});
    }
    if (mode == 0x40) bytes({static_cast<std::uint8_t>(m.offset / unit)});
    if (mode == 0x80) word(m.offset);
  }

  // Of whole vectors.
  void put(const Opcode& o, int reg, int second, const Last& m, const Options& options = {}) {
    if (wide_)
      evex(o, reg, second, m, options);
    else
      vex(o, reg, second, m, 1, options.immediate);
  }

  void vex(const Opcode& o, int reg, int second, const Last& m, int length, int immediate = -1) {
    const int x = m.where == Last::Where::memory && m.index >= 0 ? m.index >> 3 : 0;
    const int b = m.where == Last::Where::constant ? 0 : m.base >> 3;
    bytes(
        {0xc4,
         static_cast<std::uint8_t>((~(reg >> 3) & 1) << 7 | (~x & 1) << 6 | (~b & 1) << 5 | o.map),
         static_cast<std::uint8_t>(o.wide << 7 | (~second & 15) << 3 | length << 2 | o.prefix),
         o.byte});
    operand(reg, m, 1, immediate >= 0);
    if (immediate >= 0) bytes({static_cast<std::uint8_t>(immediate)});
  }

  void evex(const Opcode& o, int reg, int second, const Last& m, const Options& options) {
    const bool is_reg = m.where == Last::Where::reg;
    const bool is_constant = m.where == Last::Where::constant;
    const int x = is_reg ? m.base >> 4 : is_constant || m.index < 0 ? 0 : m.index >> 3;
    const int b = is_constant ? 0 : m.base >> 3;
    // A constant is one word for all lanes, but of kBroadcast, which does that itself.
    const bool embedded = is_constant && options.part == 1;
    bytes({0x62,
           static_cast<std::uint8_t>((~(reg >> 3) & 1) << 7 | (~x & 1) << 6 | (~b & 1) << 5 |
                                     (~(reg >> 4) & 1) << 4 | o.map),
           static_cast<std::uint8_t>(o.wide << 7 | (~second & 15) << 3 | 4 | o.prefix),
           static_cast<std::uint8_t>(options.zeros << 7 | options.length << 5 | embedded << 4 |
                                     (~(second >> 4) & 1) << 3 | options.mask),
           o.byte});
    operand(reg, m, bytes_ / options.part, options.immediate >= 0);
    if (options.immediate >= 0) bytes({static_cast<std::uint8_t>(options.immediate)});
  }

  // The code with its constants.
  std::vector<std::uint8_t> take() {
    while (code_.size() % 64) bytes({0xcc});
    for (const Fixup& f : fixups_)
      set_word(f.at, static_cast<std::int32_t>(code_.size() + f.constant * constant_bytes()) -
                         static_cast<std::int32_t>(f.end));
    for (const std::uint32_t c : pool_.all())
      for (std::size_t k = 0; k < constant_bytes(); k += 4) word(static_cast<std::int32_t>(c));
    return std::move(code_);
  }

 private:
  std::size_t constant_bytes() const { return wide_ ? 4 : 32; }

  struct Fixup {
    std::size_t at, end, constant;
  };
  const bool wide_;
  const int bytes_;  // of a vector
  std::vector<std::uint8_t> code_;
  std::vector<Fixup> fixups_;
  Pool pool_;
};

}  // namespace cermet::cpu::machine::x86
