// The assembler for x86-64: AVX2 with FMA and F16C, and AVX-512.
#include <algorithm>

#include "cpu/machine/assembler.h"
#include "cpu/machine/x86_sequences.h"

namespace cermet::cpu::machine {
namespace {

using namespace x86;
using Kind = Operand::Kind;

// The first locations' pointers; others are loaded when they are used.
constexpr int kPointers[] = {rcx, rdx, r8, r9, r10, rbx, r12, r13, r14, r15};
constexpr int kSaved[] = {rbx, rbp, r12, r13, r14, r15};              // for the caller
constexpr int kClobbered[] = {rax, rcx, rdx, rsi, rdi, r8, r9, r10};  // by a call
constexpr int kTable = rdi, kIndex = rax, kFrame = rbp, kFree = r11;

class X86 final : public Assembler, Sequences {
 public:
  explicit X86(bool wide)
      : Sequences(wide),
        facts_{wide ? 16 : 8, wide ? 30 : 14, wide ? 6 : 0, wide},
        bytes_(wide ? 64 : 32) {}

  const Facts& facts() const override { return facts_; }

  bool reads_memory(const Step& s, int operand) const override {
    switch (s.op) {
      case Micro::fma: return true;
      case Micro::select: return operand == 1;
      case Micro::rare:
      case Micro::scale:
      case Micro::store:
      case Micro::round_float16:
      case Micro::round_bfloat16:
      case Micro::from_unsigned:
      case Micro::to_unsigned: return false;
      case Micro::int_less:
      case Micro::int_less_equal:
      case Micro::unsigned_less:
      case Micro::unsigned_less_equal: return wide_ && operand == 1;
      case Micro::sqrt:
      case Micro::floor:
      case Micro::ceil:
      case Micro::trunc:
      case Micro::rint:
      case Micro::from_int:
      case Micro::to_int: return true;
      default: return operand == 1;
    }
  }
  bool may_share(const Step& s, int operand) const override {
    return s.op != Micro::rare || operand == 1;
  }

  void begin(const Shape& shape) override {
    shape_ = shape;
    slots_ = kHeader;
    if (shape.has_rare) {
      saved_ = slots_;
      slots_ += (facts_.registers + 2) * bytes_ + 8 * 8 + 8 * 8;
      slots_ = (slots_ + 63) / 64 * 64;
      arguments_ = slots_;
      slots_ += 3 * 64;
    }
    for (const int r : kSaved) push(r);
    bytes({0x49, 0x89, 0xe3});  // mov r11, rsp
    bytes({0x48, 0x81, 0xec});  // sub rsp, frame
    frame_ = size();
    word(0);
    bytes({0x48, 0x83, 0xe4, 0xc0});  // and rsp, -64
    bytes({0x48, 0x89, 0xe5});        // mov rbp, rsp
    general_store(kFree, Last::at(kFrame, kCaller));
    if (!shape.has_rows) return load_pointers();
    general_store(rdx, Last::at(kFrame, kRowsLeft));
    bytes({0x49, 0x89, 0xf3});        // mov r11, rsi
    bytes({0x49, 0x83, 0xe3, 0xc0});  // and r11, -64
    general_store(kFree, Last::at(kFrame, kWhole));
    if (!wide_) return;
    bytes({0x48, 0xc7, 0xc0, 0xff, 0xff, 0xff, 0xff});  // mov rax, -1
    bytes({0x49, 0x89, 0xf3});                          // mov r11, rsi
    bytes({0x49, 0x83, 0xe3, 0x3f});                    // and r11, 63
    bytes({0xc4, 0xe2, 0xa0, 0xf5, 0xc0});              // bzhi rax, rax, r11
    general_store(rax, Last::at(kFrame, kMasks));
  }
  void begin_rows() override {
    rows_ = size();
    load_pointers();
  }
  void end_rows() override {
    for (std::size_t k = 0; k < shape_.all.size(); ++k) {
      general_load(kFree, entry(shape_.steps + static_cast<std::uint32_t>(k)));
      general(0x01, kFree, entry(shape_.all[k]));  // add
    }
    general(0xff, 1, Last::at(kFrame, kRowsLeft));  // dec
    jump({0x0f, 0x85}, rows_);                      // jnz
  }
  void begin_loop() override {
    bytes({0x31, 0xc0});  // xor eax, eax
    if (shape_.has_rows) {
      general(0x39, rax, Last::at(kFrame, kWhole));  // cmp
      skip_ = skip({0x0f, 0x84});                    // je
    }
    while (size() % 32) bytes({0x90});
    loop_ = size();
  }
  void end_loop(int vectors) override {
    bytes({0x48, 0x83, 0xc0, static_cast<std::uint8_t>(facts_.lanes * vectors)});  // add rax, lanes
    if (shape_.has_rows)
      general(0x3b, rax, Last::at(kFrame, kWhole));  // cmp
    else
      bytes({0x48, 0x39, 0xf0});  // cmp rax, rsi
    jump({0x0f, 0x82}, loop_);    // jb
    if (shape_.has_rows) land(skip_);
  }
  void begin_rest() override {
    bytes({0x48, 0x39, 0xf0});   // cmp rax, rsi
    skip_ = skip({0x0f, 0x84});  // je
    masked_ = true;
  }
  void end_rest() override {
    masked_ = false;
    land(skip_);
  }
  void keep(int out, int from, int copy) override {
    put(kMove, out, 0, Last::reg(from), {.mask = rest(copy)});
  }
  void fold(int out, int from, int lanes) override {
    const Last f = Last::reg(from);
    if (lanes == 8) return put(kShuffle128, out, from, f, {.immediate = 0x0e});
    if (lanes == 4 && wide_) return put(kShuffle128, out, from, f, {.immediate = 0x01});
    if (lanes == 4) return put(kUpperHalf, from, 0, Last::reg(out), {.immediate = 1});
    put(kPermute, out, 0, f, {.immediate = lanes == 2 ? 0x0e : 0x01});
  }
  void splat(int out, int from) override { put(kBroadcast, out, 0, Last::reg(from)); }
  void move(int out, int from) override { Sequences::move(out, from); }

  void load(int out, Dtype dtype, int place, int copy) override {
    const Last from = element(place, size_of(dtype), copy);
    const int mask = masked_ ? rest(copy) : 0;
    const auto widen = [&](const Opcode& o, int part) {
      put(o, out, 0, from, {.mask = mask, .zeros = mask != 0, .part = part});
    };
    switch (dtype) {
      case float16: return widen(kWidenHalf, 2);
      case bfloat16: widen(kFromU16, 2); return shift(6, out, Last::reg(out), 16);
      case uint16: return widen(kFromU16, 2);
      case int16: return widen(kFromS16, 2);
      case bool_:
      case uint8: return widen(kFromU8, 4);
      case int8: return widen(kFromS8, 4);
      default: return widen(kLoad, 1);
    }
  }

  void store(int from, Dtype dtype, int place, int copy, bool streams) override {
    const Last memory = element(place, size_of(dtype), copy);
    const int mask = masked_ ? rest(copy) : 0;
    streams &= !masked_ && size_of(dtype) > 1;
    fences_ |= streams;
    const Last to = streams ? Last::reg(first_) : memory;  // of halves
    switch (dtype) {
      case float16: put(kNarrowHalf, from, 0, to, {.mask = mask, .part = 2, .immediate = 0}); break;
      case bfloat16: shift(2, first_, Last::reg(from), 16), from = first_; [[fallthrough]];
      case uint16:
      case int16: store_narrow(from, 2, to, mask); break;
      case bool_:
      case uint8:
      case int8: return store_narrow(from, 1, to, mask);
      default: return put(streams ? kStream : kStore, from, 0, memory, {.mask = mask});
    }
    if (!streams) return;
    if (wide_) return evex(kStream, first_, 0, memory, {.part = 2, .length = 1});
    vex(kStream, first_, 0, memory, 0);
  }
  void store_row(int from, Dtype dtype, std::uint32_t location) override {
    if (dtype == float16) put(kNarrowHalf, from, 0, Last::reg(first_), {.immediate = 0});
    if (dtype == bfloat16) shift(2, first_, Last::reg(from), 16);
    const int word = is_half(dtype) ? first_ : from;
    if (wide_)  // into eax
      evex(kWordToGeneral, word, 0, Last::reg(rax), {.length = 0});
    else
      vex(kWordToGeneral, word, 0, Last::reg(rax), 0);
    general_load(kFree, entry(location));
    switch (size_of(dtype)) {
      case 1: return bytes({0x41, 0x88, 0x03});
      case 2: return bytes({0x66, 0x41, 0x89, 0x03});
      default: return bytes({0x41, 0x89, 0x03});
    }
  }

  void broadcast(int out, Dtype dtype, std::uint32_t location) override {
    general_load(kFree, entry(location));
    switch (dtype) {  // into r11d, extended
      case bool_:
      case uint8: bytes({0x45, 0x0f, 0xb6, 0x1b}); break;
      case uint16: bytes({0x45, 0x0f, 0xb7, 0x1b}); break;
      case int8: bytes({0x45, 0x0f, 0xbe, 0x1b}); break;
      case int16: bytes({0x45, 0x0f, 0xbf, 0x1b}); break;
      default: bytes({0x45, 0x8b, 0x1b});
    }
    if (wide_) return put(kBroadcastGeneral, out, 0, Last::reg(kFree));
    vex(kMoveWord, first_, 0, Last::reg(kFree), 0);
    put(kBroadcast, out, 0, Last::reg(first_));
  }
  void constant(int out, std::uint32_t bits) override { Sequences::constant(out, bits); }
  void spill(int from, int slot, bool condition) override {
    if (condition) return vex(kMaskStore, mask(from), 0, slot_at(slot), 0);
    put(kStore, from, 0, slot_at(slot));
  }
  void reload(int out, int slot, bool condition) override {
    if (condition) return vex(kMaskLoad, mask(out), 0, slot_at(slot), 0);
    put(kLoad, out, 0, slot_at(slot));
  }

  void emit(const Step& step, int out, const Operand (&in)[4]) override {
    const Last a = last(in[0]), b = last(in[1]);
    const int x = static_cast<int>(in[0].value), y = static_cast<int>(in[1].value);
    switch (step.op) {
      case Micro::add: return put(kAdd, out, x, b);
      case Micro::subtract: return put(kSubtract, out, x, b);
      case Micro::multiply: return put(kMultiply, out, x, b);
      case Micro::divide: return put(kDivide, out, x, b);
      case Micro::negate: return put(kXor, out, x, Last::constant(kSign));
      case Micro::abs: return put(kAnd, out, x, Last::constant(~kSign));
      case Micro::copysign: return copysign(out, x, b);
      case Micro::scale: return scale(out, x, y);
      case Micro::fma: return fma(step, out, {a, b, last(in[2])});
      case Micro::sqrt: return put(kSqrt, out, 0, a);
      case Micro::rint: return put(kRound, out, 0, a, {.immediate = 8});
      case Micro::floor: return put(kRound, out, 0, a, {.immediate = 9});
      case Micro::ceil: return put(kRound, out, 0, a, {.immediate = 10});
      case Micro::trunc: return put(kRound, out, 0, a, {.immediate = 11});
      case Micro::round_float16:
        put(kNarrowHalf, x, 0, Last::reg(first_), {.immediate = 0});
        return put(kWidenHalf, out, 0, Last::reg(first_));
      case Micro::round_bfloat16: return round_bfloat16(out, x);
      case Micro::from_int: return put(kFromInt, out, 0, a);
      case Micro::to_int: return put(kToInt, out, 0, a);
      case Micro::from_unsigned: return from_unsigned(out, x);
      case Micro::to_unsigned: return to_unsigned(out, x);
      case Micro::int_add: return put(kIntAdd, out, x, b);
      case Micro::int_subtract: return put(kIntSubtract, out, x, b);
      case Micro::int_multiply: return put(kIntMultiply, out, x, b);
      case Micro::shift_left: return shift(6, kShiftLeft, out, x, b);
      case Micro::unsigned_shift_right: return shift(2, kShiftRight, out, x, b);
      case Micro::shift_right: return shift(4, kShiftSigned, out, x, b);
      case Micro::bit_and: return put(kAnd, out, x, b);
      case Micro::bit_or: return put(kOr, out, x, b);
      case Micro::bit_xor: return put(kXor, out, x, b);
      case Micro::bit_not: return put(kXor, out, x, Last::constant(~0u));
      case Micro::maximum: return extreme(kMaximum, out, x, b);
      case Micro::minimum: return extreme(kMinimum, out, x, b);
      case Micro::lesser: return put(kMinimum, out, x, b);
      case Micro::greater: return put(kMaximum, out, x, b);
      case Micro::int_maximum: return put(kIntMax, out, x, b);
      case Micro::int_minimum: return put(kIntMin, out, x, b);
      case Micro::unsigned_maximum: return put(kUnsignedMax, out, x, b);
      case Micro::unsigned_minimum: return put(kUnsignedMin, out, x, b);
      case Micro::equal: return compare(kCompare, 0, out, x, b);
      case Micro::less: return compare(kCompare, 17, out, x, b);
      case Micro::less_equal: return compare(kCompare, 18, out, x, b);
      case Micro::not_equal: return compare(kCompare, 4, out, x, b);
      case Micro::condition_and: return conditions(kMaskAnd, kAnd, out, x, y);
      case Micro::condition_or: return conditions(kMaskOr, kOr, out, x, y);
      case Micro::condition_xor: return conditions(kMaskXor, kXor, out, x, y);
      case Micro::condition_not:
        if (wide_) return vex(kMaskNot, mask(out), 0, Last::reg(mask(x)), 0);
        return put(kXor, out, x, Last::constant(~0u));
      case Micro::select:
        if (wide_) return put(kBlend, out, static_cast<int>(in[2].value), b, {.mask = mask(x)});
        return put(kBlendVector, out, static_cast<int>(in[2].value), b, {.immediate = x << 4});
      case Micro::rare: return rare(step, out, in);
      default:
        return wide_ ? compare_wide(step.op, out, x, b) : compare_integers(step.op, out, x, b);
    }
  }

  std::size_t size() const override { return Encoder::size(); }
  std::vector<std::uint8_t> finish(int slots) override {
    if (fences_) bytes({0x0f, 0xae, 0xf8});  // sfence
    general_load(rsp, Last::at(kFrame, kCaller));
    for (std::size_t k = std::size(kSaved); k-- > 0;) pop(kSaved[k]);
    bytes({0xc5, 0xf8, 0x77, 0xc3});  // vzeroupper, ret
    for (const Rare& r : rare_) answer(r);
    if (!rare_.empty()) save_and_restore();
    set_word(frame_, slots_ + (slots + 1) * bytes_);
    return take();
  }

 private:
  // Places in the frame before the slots: the caller's stack pointer, rows that are left, elements
  // in whole turns, masks of the rest.
  static constexpr std::int32_t kCaller = 0, kRowsLeft = 8, kWhole = 16, kMasks = 24, kHeader = 64;

  static Last entry(std::uint32_t location) {
    return Last::at(kTable, static_cast<std::int32_t>(8 * location));
  }
  void load_pointers() {
    const std::span<const std::uint32_t> locations = shape_.locations;
    for (std::size_t k = 0; k < std::min(locations.size(), std::size(kPointers)); ++k)
      general_load(kPointers[k], entry(locations[k]));
  }
  // A jump back, and one forward to where it lands.
  void jump(std::initializer_list<std::uint8_t> opcode, std::size_t to) {
    bytes(opcode);
    word(static_cast<std::int32_t>(to) - static_cast<std::int32_t>(size()) - 4);
  }
  std::size_t skip(std::initializer_list<std::uint8_t> opcode) {
    bytes(opcode);
    word(0);
    return size() - 4;
  }
  void land(std::size_t from) { set_word(from, static_cast<std::int32_t>(size() - from) - 4); }
  // The mask of a copy in the masked turn, in the first mask register.
  int rest(int copy) {
    vex(kMaskLoad, 1, 0, Last::at(kFrame, kMasks + 2 * copy), 0);
    return 1;
  }

  Last last(const Operand& o) const {
    if (o.kind == Kind::constant) return Last::constant(o.value);
    if (o.kind == Kind::slot) return slot_at(static_cast<int>(o.value));
    return Last::reg(static_cast<int>(o.value));
  }
  Last slot_at(int slot) const { return Last::at(kFrame, slots_ + slot * bytes_); }

  // The elements of this turn of the loop at a place.
  Last element(int place, std::size_t size, int copy) {
    int base = kFree;
    if (place < static_cast<int>(std::size(kPointers)))
      base = kPointers[place];
    else
      general_load(kFree, entry(shape_.locations[place]));
    return {Last::Where::memory, base, kIndex,
            size == 4   ? 2
            : size == 2 ? 1
                        : 0,
            copy * facts_.lanes * static_cast<std::int32_t>(size)};
  }

  // ---- rare arguments: a call of the loop, out of line ----

  struct Rare {
    std::size_t jump, back;
    int x, y, out;
    Loop function;
  };
  void rare(const Step& step, int out, const Operand (&in)[4]) {
    const int condition = static_cast<int>(in[0].value);
    get(out, last(in[1]));
    if (wide_)
      vex(kMaskTest, mask(condition), 0, Last::reg(mask(condition)), 0);
    else
      put(kTest, condition, 0, Last::reg(condition));
    bytes({0x0f, 0x85});  // jnz
    word(0);
    rare_.push_back({size() - 4, size(), static_cast<int>(in[2].value),
                     static_cast<int>(in[3].value), out, step.function});
  }
  Last argument(int k) const { return Last::at(kFrame, arguments_ + 64 * k); }
  void answer(const Rare& r) {
    set_word(r.jump, static_cast<std::int32_t>(size() - r.jump) - 4);
    put(kStore, r.x, 0, argument(0));
    put(kStore, r.y, 0, argument(1));
    call(calls_save_);
    general(0x8d, rdi, argument(2));
    general(0x8d, rsi, argument(0));
    general(0x8d, rdx, argument(1));
    bytes({0x31, 0xc9});  // xor ecx, ecx
    bytes({0x41, 0xb8});  // mov r8d, lanes
    word(facts_.lanes);
    bytes({0x48, 0xb8});  // mov rax, loop
    const auto address = reinterpret_cast<std::uintptr_t>(r.function);
    word(static_cast<std::int32_t>(address));
    word(static_cast<std::int32_t>(address >> 32));
    bytes({0xff, 0xd0});  // call rax
    call(calls_restore_);
    put(kLoad, r.out, 0, argument(2));
    bytes({0xe9});  // jmp
    word(static_cast<std::int32_t>(r.back) - static_cast<std::int32_t>(size()) - 4);
  }
  void call(std::vector<std::size_t>& calls) {
    bytes({0xe8});
    calls.push_back(size());
    word(0);
  }
  void save_and_restore() {
    for (const bool saves : {true, false}) {
      for (const std::size_t at : saves ? calls_save_ : calls_restore_)
        set_word(at, static_cast<std::int32_t>(size() - at) - 4);
      std::int32_t offset = saved_;
      for (int r = 0; r < facts_.registers + 2; ++r, offset += bytes_)
        put(saves ? kStore : kLoad, r, 0, Last::at(kFrame, offset));
      for (int k = 1; wide_ && k < 8; ++k, offset += 8)
        vex(saves ? kMaskStore : kMaskLoad, k, 0, Last::at(kFrame, offset), 0);
      for (const int r : kClobbered) {
        general(saves ? 0x89 : 0x8b, r, Last::at(kFrame, offset));
        offset += 8;
      }
      bytes({0xc3});
    }
  }

  const Facts facts_;
  const int bytes_;  // of a vector
  Shape shape_;
  std::vector<Rare> rare_;
  std::vector<std::size_t> calls_save_, calls_restore_;
  std::size_t frame_ = 0, rows_ = 0, loop_ = 0, skip_ = 0;
  bool masked_ = false, fences_ = false;
  std::int32_t slots_ = 0, saved_ = 0, arguments_ = 0;  // places in the frame
};

}  // namespace

std::unique_ptr<Assembler> make_x86(bool wide) { return std::make_unique<X86>(wide); }

}  // namespace cermet::cpu::machine
