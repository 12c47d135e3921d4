// The encoder for Arm's Advanced SIMD (AArch64). An instruction is a word: a row of the table with
// its registers.
#include <algorithm>

#include "cpu/machine/assembler.h"
#include "cpu/machine/pool.h"

namespace cermet::cpu::machine {
namespace {

using Kind = Operand::Kind;
using Word = std::uint32_t;

// Registers: the table, the elements of a row, which of them a turn begins at, those in whole
// turns, the rows that are left, two for addresses (the second has that of the constants). x18 is
// the system's.
constexpr int kTable = 0, kCount = 1, kIndex = 2, kWhole = 3, kRowsLeft = 4;
constexpr int kFree = 16, kConstants = 17, kStack = 31;
// Pointers to a turn's elements at the first locations; others are loaded when they are used.
constexpr int kPointers[] = {5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                             19, 20, 21, 22, 23, 24, 25, 26, 27, 28};
constexpr int kFirst = 30, kSecond = 31;  // vectors for sequences

// Of four lanes of 32 bits, unless told: result | operand << 5 | operand << 16.
// clang-format off
constexpr Word kAdd = 0x4e20d400, kSubtract = 0x4ea0d400, kMultiply = 0x6e20dc00, kDivide = 0x6e20fc00;
constexpr Word kMultiplyAdd = 0x4e20cc00, kMultiplySubtract = 0x4ea0cc00;  // to what the result holds
constexpr Word kNegate = 0x6ea0f800, kAbs = 0x4ea0f800, kSqrt = 0x6ea1f800;
constexpr Word kFloor = 0x4e219800, kCeil = 0x4ea18800, kTrunc = 0x4ea19800, kRint = 0x4e218800;
constexpr Word kFromInt = 0x4e21d800, kFromUnsigned = 0x6e21d800, kToInt = 0x4ea1b800, kToUnsigned = 0x6ea1b800;
constexpr Word kIntAdd = 0x4ea08400, kIntSubtract = 0x6ea08400, kIntMultiply = 0x4ea09c00, kIntNegate = 0x6ea0b800;
constexpr Word kAnd = 0x4e201c00, kOr = 0x4ea01c00, kXor = 0x6e201c00, kNot = 0x6e205800;
constexpr Word kShift = 0x6ea04400, kShiftSigned = 0x4ea04400;  // to the left, by a signed count
constexpr Word kLeftBy = 0x4f205400, kRightBy = 0x6f000400, kRightSignedBy = 0x4f000400;  // count << 16
constexpr Word kBytes = kRightSignedBy;  // where that has no count: a byte in each lane
constexpr Word kEqual = 0x4e20e400, kGreater = 0x6ea0e400, kGreaterEqual = 0x6e20e400;
constexpr Word kIntEqual = 0x6ea08c00, kIntGreater = 0x4ea03400, kIntGreaterEqual = 0x4ea03c00;
constexpr Word kUnsignedGreater = 0x6ea03400, kUnsignedGreaterEqual = 0x6ea03c00;
// Of bits: the mask is what the result holds; the operand where the mask is 1, and where it is 0.
constexpr Word kSelect = 0x6e601c00, kInsertIf = 0x6ea01c00, kInsertUnless = 0x6ee01c00;
constexpr Word kLargest = 0x4e20f400, kSmallest = 0x4ea0f400;
constexpr Word kIntMax = 0x4ea06400, kIntMin = 0x4ea06c00, kUnsignedMax = 0x6ea06400, kUnsignedMin = 0x6ea06c00;
constexpr Word kFromLane = 0x6e000000, kFirstLane = 0x4e040400;  // bytes << 11; to all lanes
constexpr Word kMaxPairs = 0x6ea0a400, kToGeneral = 0x9e660000;
// Of four lanes of 16 bits and 32; the last two of eight of 8 bits and 16.
constexpr Word kWidenHalf = 0x0e217800, kNarrowHalf = 0x0e216800, kWidenUpper = 0x2e613800, kNarrowUpper = 0x0f108400;
constexpr Word kFromU16 = 0x2f10a400, kFromS16 = 0x0f10a400, kTo16 = 0x0e612800;
constexpr Word kFromU8 = 0x2f08a400, kFromS8 = 0x0f08a400, kTo8 = 0x0e212800;
// Memory: a base and its size << 10, for parts of 4, 8 and 16 bytes; one element to all lanes.
constexpr Word kLoad[] = {0xbd400000, 0xfd400000, 0x3dc00000}, kStore[] = {0xbd000000, 0xfd000000, 0x3d800000};
constexpr Word kLoadEach[] = {0x0d40c000, 0x0d40c400, 0x4d40c800}, kStoreOne[] = {0x3d000000, 0x7d000000, 0xbd000000};
constexpr Word kLoadAt = 0x3ce07800, kStoreAt = 0x3ca07800;  // a base and a register that counts vectors
constexpr Word kLoadPair = 0xad400000, kStorePair = 0xad000000;
// General registers: with memory, pairs of them and of halves of vectors; words, sums, jumps.
constexpr Word kLoadGeneral = 0xf9400000, kStoreGeneral = 0xf9000000;
constexpr Word kLoadGeneralAt = 0xf8607800, kStoreGeneralAt = 0xf8207800;
constexpr Word kLoadTwo = 0xa9400000, kStoreTwo = 0xa9000000, kLoadTwoAfter = 0xa8c00000, kStoreTwoBefore = 0xa9800000;
constexpr Word kLoadHalves = 0x6d400000, kStoreHalves = 0x6d000000;
constexpr Word kMoveWord = 0xd2800000, kKeepWord = 0xf2800000, kSum = 0x91000000, kDifference = 0xd1000000, kShifted = 0x8b000000, kPages = 0x400000;
constexpr Word kMoveGeneral = 0xaa0003e0;
constexpr Word kJump = 0x14000000, kCall = 0x94000000, kReturn = 0xd65f03c0;
// clang-format on

// Bytes of the frame: arguments of a call, general registers, vectors. Slots are behind them.
constexpr int kArguments = 0, kGenerals = 48, kVectors = 192, kSavedEnd = 672;
constexpr int kCallersFrame = 160;  // what is kept for the caller

int log_of(std::size_t size) { return size == 4 ? 2 : size == 2 ? 1 : 0; }

class Neon final : public Assembler {
 public:
  const Facts& facts() const override { return facts_; }
  bool reads_memory(const Step& s, int operand) const override {
    return s.op >= Micro::shift_left && s.op <= Micro::unsigned_shift_right && operand == 1;
  }
  // What is added to is overwritten.
  bool may_share(const Step& s, int operand) const override {
    if (s.op == Micro::fma || s.op == Micro::scale) return operand == 2;
    return s.op != Micro::rare || operand == 1;
  }
  std::size_t size() const override { return 4 * code_.size(); }

  void begin(const Shape& shape) override {
    shape_ = shape;
    sizes_.assign(shape.locations.size(), 0);
    slots_ = shape.has_rare ? kSavedEnd / 16 : 0;
    pair(kStoreTwoBefore, 29, 30, kStack, -kCallersFrame / 8);
    for_caller(kStoreTwo, kStoreHalves);
    frame_ = code_.size();
    code_.resize(code_.size() + 2);  // room on the stack
    put(0x10000000 | kConstants);    // adr, of this instruction
    code_.resize(code_.size() + 2);
    if (!shape.has_rows) return put(kMoveGeneral | kWhole, 0, kCount);
    put(kMoveGeneral | kRowsLeft, 0, 2);  // the third argument
    put(0x927ae400 | kWhole, kCount);     // and, by -64
  }
  void begin_rows() override { rows_ = code_.size(); }
  void end_rows() override {
    for (std::size_t k = 0; k < shape_.all.size(); ++k) {  // no pointer is needed now
      entry(kLoadGeneral, kPointers[0], shape_.steps + static_cast<std::uint32_t>(k));
      entry(kLoadGeneral, kPointers[1], shape_.all[k]);
      put(kShifted | kPointers[0], kPointers[0], kPointers[1]);
      entry(kStoreGeneral, kPointers[0], shape_.all[k]);
    }
    put(0xf1000400 | kRowsLeft, kRowsLeft);  // subs, by 1
    put(0x54000040);                         // b.eq, over the jump
    put(kJump | distance(code_.size(), rows_));
  }
  void begin_loop() override {
    if (shape_.has_rows) {
      put(0xb5000040 | kWhole);  // cbnz, over the jump
      skip_ = code_.size();
      put(kJump);
    }
    put(kMoveWord | kIndex);
    for (std::size_t k = 0; k < std::min(sizes_.size(), std::size(kPointers)); ++k)
      entry(kLoadGeneral, kPointers[k], shape_.locations[k]);
    while (size() % 32) put(0xd503201f);
    loop_ = code_.size();
  }
  void end_loop(int vectors) override {
    add(kIndex, kIndex, facts_.lanes * vectors);
    for (std::size_t k = 0; k < std::min(sizes_.size(), std::size(kPointers)); ++k)
      if (sizes_[k]) add(kPointers[k], kPointers[k], facts_.lanes * vectors * sizes_[k]);
    put(0xeb00001f, kIndex, kWhole);  // cmp
    put(0x54000042);                  // b.hs, over the jump
    put(kJump | distance(code_.size(), loop_));
    if (shape_.has_rows) code_[skip_] |= distance(skip_, code_.size());
  }
  // There are no masked turns.
  void begin_rest() override {}
  void end_rest() override {}
  void keep(int, int, int) override {}
  void fold(int out, int from, int lanes) override {
    put(kFromLane | lanes * 4 << 11 | out, from, from);
  }
  void splat(int out, int from) override { put(kFirstLane | out, from); }
  void move(int out, int x) override {
    if (out != x) put(kOr | out, x, x);
  }

  void load(int out, Dtype dtype, int place, int copy) override {
    const int base = element(place, size_of(dtype));
    put(kLoad[log_of(size_of(dtype))] | copy << 10 | out, base);
    widen(out, dtype);
  }
  void store(int from, Dtype dtype, int place, int copy, bool) override {
    const int base = element(place, size_of(dtype));
    put(kStore[log_of(size_of(dtype))] | copy << 10 | narrow(from, dtype), base);
  }
  void store_row(int from, Dtype dtype, std::uint32_t location) override {
    entry(kLoadGeneral, kFree, location);
    put(kStoreOne[log_of(size_of(dtype))] | narrow(from, dtype), kFree);
  }
  void broadcast(int out, Dtype dtype, std::uint32_t location) override {
    entry(kLoadGeneral, kFree, location);
    put(kLoadEach[log_of(size_of(dtype))] | out, kFree);
    widen(out, dtype);
  }

  // Bytes that an instruction holds, or words behind the code.
  void constant(int out, std::uint32_t bits) override {
    for (const int inverted : {0, 1}) {
      const Word value = inverted ? ~bits : bits;
      for (int k = 0; k < 4; ++k)
        if ((value & ~(0xffu << 8 * k)) == 0) return bytes(out, inverted, 2 * k, value >> 8 * k);
      for (const int k : {1, 2})  // ones below
        if (value >> 8 * k <= 0xff && (~value & ((1u << 8 * k) - 1)) == 0)
          return bytes(out, inverted, 0xb + k, value >> 8 * k);
    }
    const Word exponent = bits >> 25 & 0x3f;
    if ((bits & 0x7ffff) == 0 && (exponent == 0x20 || exponent == 0x1f))
      return bytes(out, 0, 0xf, (bits >> 24 & 0x80) | (bits >> 19 & 0x7f));
    near(kLoad[2], out, kConstants, static_cast<int>(pool_.place_of(bits)));
  }
  void spill(int from, int slot, bool) override { near(kStore[2], from, kStack, slots_ + slot); }
  void reload(int out, int slot, bool) override { near(kLoad[2], out, kStack, slots_ + slot); }

  void emit(const Step& step, int out, const Operand (&in)[4]) override {
    const int x = reg(in[0]), y = reg(in[1]);
    switch (step.op) {
      case Micro::add: return put(kAdd | out, x, y);
      case Micro::subtract: return put(kSubtract | out, x, y);
      case Micro::multiply: return put(kMultiply | out, x, y);
      case Micro::divide: return put(kDivide | out, x, y);
      case Micro::negate: return put(kNegate | out, x);
      case Micro::abs: return put(kAbs | out, x);
      case Micro::copysign: return copysign(out, x, y);
      case Micro::scale: return scale(out, x, y);
      case Micro::fma: return fma(step.signs, out, x, y, reg(in[2]));
      case Micro::sqrt: return put(kSqrt | out, x);
      case Micro::floor: return put(kFloor | out, x);
      case Micro::ceil: return put(kCeil | out, x);
      case Micro::trunc: return put(kTrunc | out, x);
      case Micro::rint: return put(kRint | out, x);
      case Micro::round_float16: put(kNarrowHalf | kFirst, x); return put(kWidenHalf | out, kFirst);
      case Micro::round_bfloat16: return round_bfloat16(out, x);
      case Micro::from_int: return put(kFromInt | out, x);
      case Micro::from_unsigned: return put(kFromUnsigned | out, x);
      case Micro::to_int: return put(kToInt | out, x);
      case Micro::to_unsigned: return put(kToUnsigned | out, x);
      case Micro::int_add: return put(kIntAdd | out, x, y);
      case Micro::int_subtract: return put(kIntSubtract | out, x, y);
      case Micro::int_multiply: return put(kIntMultiply | out, x, y);
      case Micro::shift_left:
        if (in[1].kind == Kind::constant) return put(kLeftBy | in[1].value << 16 | out, x);
        return put(kShift | out, x, count(in[1]));
      case Micro::shift_right: return shift_right(kRightSignedBy, kShiftSigned, out, x, in[1]);
      case Micro::unsigned_shift_right: return shift_right(kRightBy, kShift, out, x, in[1]);
      case Micro::bit_and:
      case Micro::condition_and: return put(kAnd | out, x, y);
      case Micro::bit_or:
      case Micro::condition_or: return put(kOr | out, x, y);
      case Micro::bit_xor:
      case Micro::condition_xor: return put(kXor | out, x, y);
      case Micro::bit_not:
      case Micro::condition_not: return put(kNot | out, x);
      case Micro::maximum: return extreme(kLargest, out, x, y);
      case Micro::minimum: return extreme(kSmallest, out, x, y);
      case Micro::lesser: put(kGreater | kFirst, y, x); return select(out, kFirst, x, y);
      case Micro::greater: put(kGreater | kFirst, x, y); return select(out, kFirst, x, y);
      case Micro::int_maximum: return put(kIntMax | out, x, y);
      case Micro::int_minimum: return put(kIntMin | out, x, y);
      case Micro::unsigned_maximum: return put(kUnsignedMax | out, x, y);
      case Micro::unsigned_minimum: return put(kUnsignedMin | out, x, y);
      case Micro::equal: return put(kEqual | out, x, y);
      case Micro::not_equal: put(kEqual | out, x, y); return put(kNot | out, out);
      case Micro::less: return put(kGreater | out, y, x);
      case Micro::less_equal: return put(kGreaterEqual | out, y, x);
      case Micro::int_equal: return put(kIntEqual | out, x, y);
      case Micro::int_not_equal: put(kIntEqual | out, x, y); return put(kNot | out, out);
      case Micro::int_less: return put(kIntGreater | out, y, x);
      case Micro::int_less_equal: return put(kIntGreaterEqual | out, y, x);
      case Micro::unsigned_less: return put(kUnsignedGreater | out, y, x);
      case Micro::unsigned_less_equal: return put(kUnsignedGreaterEqual | out, y, x);
      case Micro::select: return select(out, x, y, reg(in[2]));
      case Micro::rare:
        move(out, y);
        put(kMaxPairs | kFirst, x, x);
        put(kToGeneral | kFree, kFirst);
        put(0xb4000040 | kFree);  // cbz, over the jump
        rare_.push_back({code_.size(), reg(in[2]), reg(in[3]), out, step.function});
        return put(kJump);
      default: return;  // a source or a store
    }
  }

  std::vector<std::uint8_t> finish(int slots) override {
    const int frame = 16 * (slots_ + slots);
    const auto far = [](Word kind, int to, int from, int bytes, Word(&two)[2]) {
      two[0] = kind | kPages | bytes >> 12 << 10 | from << 5 | to;
      two[1] = kind | (bytes & 0xfff) << 10 | to << 5 | to;
    };
    Word two[2];
    far(kDifference, kStack, kStack, frame, two);
    std::copy_n(two, 2, &code_[frame_]);
    far(kSum, kStack, kStack, frame, two);
    for (const Word word : two) put(word);
    for_caller(kLoadTwo, kLoadHalves);
    pair(kLoadTwoAfter, 29, 30, kStack, kCallersFrame / 8);
    put(kReturn);
    for (const Rare& r : rare_) answer(r);
    if (!rare_.empty()) save_and_restore();
    while (size() % 16) put(0);
    const std::size_t adr = frame_ + 2;
    far(kSum, kConstants, kConstants, 4 * static_cast<int>(code_.size() - adr), two);
    std::copy_n(two, 2, &code_[adr + 1]);
    for (const Word constant : pool_.all()) code_.insert(code_.end(), 4, constant);
    std::vector<std::uint8_t> out;
    out.reserve(size());
    for (const Word word : code_)
      for (int k = 0; k < 32; k += 8) out.push_back(static_cast<std::uint8_t>(word >> k));
    return out;
  }

 private:
  static int reg(const Operand& o) { return static_cast<int>(o.value); }
  void put(Word word, int n = 0, int m = 0) { code_.push_back(word | n << 5 | m << 16); }
  // Two registers, at so many of their size behind a base.
  void pair(Word kind, int first, int second, int base, int units) {
    put(kind | (units & 0x7f) << 15 | second << 10 | base << 5 | first);
  }
  // A vector, at so many behind a base.
  void near(Word kind, int r, int base, int vectors) {
    if (vectors < 4096) return put(kind | vectors << 10 | r, base);
    put(kMoveWord | (vectors & 0xffff) << 5 | kFree);
    put(kKeepWord | 1 << 21 | vectors >> 16 << 5 | kFree);
    put((kind == kLoad[2] ? kLoadAt : kStoreAt) | r, base, kFree);
  }
  void add(int out, int base, int bytes) { put(kSum | bytes << 10 | out, base); }
  // A general register and an entry of the table.
  void entry(Word kind, int r, std::uint32_t location) {
    if (location < 4096) return put(kind | location << 10 | r, kTable);
    put(kMoveWord | (location & 0xffff) << 5 | kFree);
    put(kKeepWord | 1 << 21 | location >> 16 << 5 | kFree);
    put((kind == kLoadGeneral ? kLoadGeneralAt : kStoreGeneralAt) | r, kTable, kFree);
  }
  static Word distance(std::size_t from, std::size_t to) { return (to - from) & 0x3ffffff; }

  // The register that points to a place's elements of this turn.
  int element(int place, std::size_t size) {
    sizes_[place] = static_cast<int>(size);
    if (place < static_cast<int>(std::size(kPointers))) return kPointers[place];
    entry(kLoadGeneral, kFree, shape_.locations[place]);
    put(kShifted | log_of(size) << 10 | kFree, kFree, kIndex);
    return kFree;
  }
  // The register of a vector as it is in memory.
  int narrow(int x, Dtype dtype) {
    switch (dtype) {
      case float16: put(kNarrowHalf | kFirst, x); break;
      case bfloat16: put(kNarrowUpper | kFirst, x); break;
      case uint16:
      case int16: put(kTo16 | kFirst, x); break;
      case bool_:
      case uint8:
      case int8:
        put(kTo16 | kFirst, x);
        put(kTo8 | kFirst, kFirst);
        break;
      default: return x;
    }
    return kFirst;
  }
  void widen(int out, Dtype dtype) {
    switch (dtype) {
      case float16: return put(kWidenHalf | out, out);
      case bfloat16: return put(kWidenUpper | out, out);
      case uint16: return put(kFromU16 | out, out);
      case int16: return put(kFromS16 | out, out);
      case bool_:
      case uint8: put(kFromU8 | out, out); return put(kFromU16 | out, out);
      case int8: put(kFromS8 | out, out); return put(kFromS16 | out, out);
      default: return;
    }
  }
  // A byte in each lane, placed by the mode: odd modes clear its bits in what is there (inverted),
  // or set them.
  void bytes(int out, int inverted, int mode, Word byte) {
    put(kBytes | inverted << 29 | byte >> 5 << 16 | mode << 12 | (byte & 31) << 5 | out);
  }

  // ---- steps of several instructions ----

  void copysign(int out, int x, int sign) {
    bytes(kFirst, 0, 6, 0x80);
    if (out == sign) return put(kInsertUnless | out, x, kFirst);
    move(out, x);
    put(kInsertIf | out, sign, kFirst);
  }
  void select(int out, int condition, int yes, int no) {
    if (out == yes) return put(kInsertUnless | out, no, condition);
    if (out == no) return put(kInsertIf | out, yes, condition);
    move(out, condition);
    put(kSelect | out, yes, no);
  }
  void fma(int signs, int out, int a, int b, int c) {
    const bool apart = out != c ? out == a || out == b : signs & 2 && (c == a || c == b);
    const int sum = apart ? kFirst : out;
    if (signs & 2)
      put(kNegate | sum, c);
    else
      move(sum, c);
    put((signs & 1 ? kMultiplySubtract : kMultiplyAdd) | sum, a, b);
    move(out, sum);
  }
  void scale(int out, int x, int k) {
    put(kRightSignedBy | (64 - 1) << 16 | kFirst, k);
    put(kIntSubtract | kSecond, k, kFirst);
    constant(out, 0x3f800000);  // 1, to whose exponent the halves are added
    for (const int half : {kFirst, kSecond}) {
      put(kLeftBy | 23 << 16 | half, half);
      put(kIntAdd | half, half, out);
    }
    put(kMultiply | kFirst, x, kFirst);
    put(kMultiply | out, kFirst, kSecond);
  }
  // The instruction takes 0 for larger than -0.
  void extreme(Word kind, int out, int x, int y) {
    put(kEqual | kFirst, x, y);
    const int result = out == y ? kSecond : out;
    put(kind | result, x, y);
    if (out == y)
      put(kInsertUnless | out, kSecond, kFirst);
    else
      put(kInsertIf | out, y, kFirst);
  }
  // The sum carries into the upper half; a nan stays one.
  void round_bfloat16(int out, int x) {
    put(kLeftBy | 15 << 16 | kFirst, x);  // the upper half's last bit
    put(kRightBy | (64 - 31) << 16 | kFirst, kFirst);
    put(kIntAdd | kFirst, kFirst, x);
    constant(kSecond, 0x7fff);
    put(kIntAdd | kFirst, kFirst, kSecond);
    put(kEqual | kSecond, x, x);
    move(out, x);
    bytes(out, 0, 5, 0x40);
    put(kInsertIf | out, kFirst, kSecond);
    bytes(out, 1, 1, 0xff);
    bytes(out, 1, 3, 0xff);
  }
  int count(const Operand& o) {
    if (o.kind == Kind::reg) return reg(o);
    reload(kFirst, reg(o), false);
    return kFirst;
  }
  void shift_right(Word by, Word variable, int out, int x, const Operand& o) {
    if (o.kind == Kind::constant)
      return o.value == 0 ? move(out, x) : put(by | (64 - o.value) << 16 | out, x);
    put(kIntNegate | kFirst, count(o));
    put(variable | out, x, kFirst);
  }

  // ---- the frame ----

  // The registers that a function keeps for its caller: x19 to x28 and the lower halves of v8 to
  // v15.
  void for_caller(Word generals, Word halves) {
    for (int k = 0; k < 5; ++k) pair(generals, 19 + 2 * k, 20 + 2 * k, kStack, 2 + 2 * k);
    for (int k = 0; k < 4; ++k) pair(halves, 8 + 2 * k, 9 + 2 * k, kStack, 12 + 2 * k);
  }

  // ---- rare arguments: a call of the loop, out of line ----

  struct Rare {
    std::size_t jump;
    int x, y, out;
    Loop loop;
  };
  void answer(const Rare& r) {
    code_[r.jump] |= distance(r.jump, code_.size());
    near(kStore[2], r.x, kStack, kArguments);
    near(kStore[2], r.y, kStack, kArguments + 1);
    call(calls_save_);
    add(0, kStack, 16 * (kArguments + 2));
    add(1, kStack, 16 * kArguments);
    add(2, kStack, 16 * (kArguments + 1));
    put(kMoveWord | 3);
    put(kMoveWord | facts_.lanes << 5 | 4);
    const std::uint64_t address = reinterpret_cast<std::uintptr_t>(r.loop);
    for (int k = 0; k < 4; ++k)
      put((k ? kKeepWord : kMoveWord) | k << 21 | (address >> 16 * k & 0xffff) << 5 | kFree);
    put(0xd63f0000, kFree);  // blr
    call(calls_restore_);
    near(kLoad[2], r.out, kStack, kArguments + 2);
    put(kJump | distance(code_.size(), r.jump + 1));
  }
  void call(std::vector<std::size_t>& calls) {
    calls.push_back(code_.size());
    put(kCall);
  }
  void save_and_restore() {
    for (const bool saves : {true, false}) {
      for (const std::size_t at : saves ? calls_save_ : calls_restore_)
        code_[at] |= distance(at, code_.size());
      for (int r = 0; r < 18; r += 2)
        pair(saves ? kStoreTwo : kLoadTwo, r, r + 1, kStack, kGenerals / 8 + r);
      for (int r = 0; r < facts_.registers; r += 2)
        pair(saves ? kStorePair : kLoadPair, r, r + 1, kStack, kVectors / 16 + r);
      put(kReturn);
    }
  }

  static constexpr Facts facts_{4, 30, 0, false};
  Shape shape_;
  std::vector<int> sizes_;  // of elements at the places that are used
  std::vector<Word> code_;
  Pool pool_;
  std::vector<Rare> rare_;
  std::vector<std::size_t> calls_save_, calls_restore_;
  std::size_t frame_ = 0, loop_ = 0, rows_ = 0, skip_ = 0;
  int slots_ = 0;  // where they begin, in vectors
};

}  // namespace

std::unique_ptr<Assembler> make_arm() { return std::make_unique<Neon>(); }

}  // namespace cermet::cpu::machine
