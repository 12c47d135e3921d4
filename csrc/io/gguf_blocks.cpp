// The blocks that GGUF's quantized tensors consist of: little-endian, each some elements of a row
// with what scales them. Where a mode of quantization has the same values, they are packed as that
// wants them; others become float16. A function does one block.
#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "io/gguf.h"
#include "ops/cpp.h"

namespace cermet::io {
namespace {

using u8 = std::uint8_t;
using u16 = std::uint16_t;

u16 u16_at(const u8* p) { return static_cast<u16>(p[0] | p[1] << 8); }
float half_at(const u8* p) { return cpu::plain::widen_float16(u16_at(p)); }
u16 half_of(float x) { return static_cast<u16>(cpu::plain::narrow_float16(x)); }

// ---- Dequantized ---- products and sums in float32, rounded once to float16
// Blocks of 256 have groups of 16 or 32 elements with a scale each. `half` is one of 128 elements,
// `part` 32 of that, `i` one of these.

template <class F>
void each_of_256(F f) {
  for (int half = 0; half < 2; ++half)
    for (int part = 0; part < 4; ++part)
      for (int i = 0; i < 32; i += 16) f(half, part, i, half * 8 + part * 2 + i / 16);
}

void q2_k(const u8* block, float* out) {
  const u8 *scales = block, *low = block + 16;
  const float d = half_at(block + 80), least = half_at(block + 82);
  each_of_256([&](int half, int part, int i, int group) {
    const float scale = d * static_cast<float>(scales[group] & 15);
    const float offset = least * static_cast<float>(scales[group] >> 4);
    const u8* from = low + half * 32 + i;
    for (int k = 0; k < 16; ++k)
      out[group * 16 + k] = scale * static_cast<float>(from[k] >> (2 * part) & 3) - offset;
  });
}

void q3_k(const u8* block, float* out) {
  const u8 *high = block, *low = block + 32, *scales = block + 96;
  const float d = half_at(block + 108);
  each_of_256([&](int half, int part, int i, int group) {
    const int lower = scales[group % 8] >> (group / 8 * 4) & 15;
    const int upper = scales[8 + group % 4] >> (group / 4 * 2) & 3;
    const float scale = d * static_cast<float>((lower | upper << 4) - 32);
    const u8 *from = low + half * 32 + i, *bit = high + i;
    for (int k = 0; k < 16; ++k) {
      const int q = (from[k] >> (2 * part) & 3) | (bit[k] >> (half * 4 + part) & 1) << 2;
      out[group * 16 + k] = scale * static_cast<float>(q - 4);
    }
  });
}

void q6_k(const u8* block, float* out) {
  const u8 *low = block, *high = block + 128, *scales = block + 192;
  const float d = half_at(block + 208);
  each_of_256([&](int half, int part, int i, int group) {
    const float scale = d * static_cast<float>(static_cast<std::int8_t>(scales[group]));
    const u8 *from = low + half * 64 + part % 2 * 32 + i, *above = high + half * 32 + i;
    for (int k = 0; k < 16; ++k) {
      const int q = (from[k] >> (part / 2 * 4) & 15) | (above[k] >> (part * 2) & 3) << 4;
      out[group * 16 + k] = scale * static_cast<float>(q - 32);
    }
  });
}

// A group's scale and what it is lessened by, of 6 bits each, eight of both in 12 bytes.
std::pair<int, int> scale_and_least(const u8* packed, int group) {
  if (group < 4) return {packed[group] & 63, packed[group + 4] & 63};
  return {(packed[group + 4] & 15) | packed[group - 4] >> 6 << 4,
          packed[group + 4] >> 4 | packed[group] >> 6 << 4};
}
// Of 4 bits, and a fifth in `high` if there is one.
template <bool kFifth>
void q45_k(const u8* block, float* out) {
  const float d = half_at(block), least = half_at(block + 2);
  const u8 *high = block + 16, *low = high + (kFifth ? 32 : 0);
  for (int group = 0; group < 8; ++group) {
    const auto [a, b] = scale_and_least(block + 4, group);
    const float scale = d * static_cast<float>(a), offset = least * static_cast<float>(b);
    const u8* from = low + group / 2 * 32;
    for (int i = 0; i < 32; ++i) {
      int q = from[i] >> (group % 2 * 4) & 15;
      if constexpr (kFifth) q |= (high[i] >> group & 1) << 4;
      out[group * 32 + i] = scale * static_cast<float>(q) - offset;
    }
  }
}

void q8_k(const u8* block, float* out) {
  float d = 0;
  std::memcpy(&d, block, sizeof(d));
  for (int i = 0; i < 256; ++i)
    out[i] = d * static_cast<float>(static_cast<std::int8_t>(block[4 + i]));
}

constexpr float kUneven[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                               1,    13,   25,  38,  53,  69,  89,  113};
void uneven(const u8* codes, float scale, float* out) {
  for (int i = 0; i < 16; ++i) {
    out[i] = scale * kUneven[codes[i] & 15];
    out[16 + i] = scale * kUneven[codes[i] >> 4];
  }
}
void iq4_nl(const u8* block, float* out) { uneven(block + 2, half_at(block), out); }
void iq4_xs(const u8* block, float* out) {
  const float d = half_at(block);
  const int upper = u16_at(block + 2);
  for (int group = 0; group < 8; ++group) {
    const int lower = block[4 + group / 2] >> (group % 2 * 4) & 15;
    const int scale = (lower | (upper >> (group * 2) & 3) << 4) - 32;
    uneven(block + 8 + group * 16, d * static_cast<float>(scale), out + group * 32);
  }
}

template <int kElements, int kBytes, void (*kBlock)(const u8*, float*)>
void halves(const u8* blocks, std::size_t count, void* out) {
  auto* to = static_cast<u16*>(out);
  for (; count > 0; --count, blocks += kBytes, to += kElements) {
    float values[kElements];
    kBlock(blocks, values);
    for (int i = 0; i < kElements; ++i) to[i] = half_of(values[i]);
  }
}
template <int kElements, int kBytes, void (*kBlock)(const u8*, float*)>
constexpr BlockPart kHalves[] = {{"", float16, kElements, halves<kElements, kBytes, kBlock>}};

// ---- Packed ---- the same integers, as a stream of bits in the order of the elements

// Each byte is an element of the first half of them and, above, one of the second.
template <int kSize>
void unpack(const u8* nibbles, u8* out) {
  for (int i = 0; i < kSize / 2; ++i) {
    out[i] = nibbles[i] & 15;
    out[kSize / 2 + i] = nibbles[i] >> 4;
  }
}
template <int kSize>
void pack4(const u8* values, u8* out) {
  for (int i = 0; i < kSize / 2; ++i)
    out[i] = static_cast<u8>(values[2 * i] | values[2 * i + 1] << 4);
}

template <int kBytes, int kBefore>
void nibbles(const u8* block, u8* out) {
  u8 values[32];
  unpack<32>(block + kBefore, values);
  pack4<32>(values, out);
}
// Their fifth bits come before them.
template <int kBytes, int kBefore>
void five_bits(const u8* block, u8* out) {
  u8 values[32];
  unpack<32>(block + kBefore + 4, values);
  for (int i = 0; i < 32; i += 8, out += 5) {
    std::uint64_t bits = 0;
    for (int k = 0; k < 8; ++k) {
      const int fifth = block[kBefore + i / 8] >> k & 1;
      bits |= static_cast<std::uint64_t>(values[i + k] | fifth << 4) << (5 * k);
    }
    for (int k = 0; k < 5; ++k) out[k] = static_cast<u8>(bits >> (8 * k));
  }
}
void signed_bytes(const u8* block, u8* out) {
  for (int i = 0; i < 32; ++i) out[i] = block[2 + i] ^ 0x80;  // 128 more
}
// Four groups of 16.
void nvfp4(const u8* block, u8* out) {
  for (int group = 0; group < 4; ++group) {
    u8 values[16];
    unpack<16>(block + 4 + group * 8, values);
    pack4<16>(values, out + group * 8);
  }
}
void nvfp4_scales(const u8* block, u8* out) {
  for (int group = 0; group < 4; ++group) {
    const int code = block[group] & 0x7f;                   // without a sign
    out[group] = static_cast<u8>(code == 0x7f ? 0 : code);  // what would be nan is 0 there
  }
}

template <int kBytes>
void first_byte(const u8* block, u8* out) {
  *out = *block;
}
template <int kAt>
void half(const u8* block, u8* out) {
  std::memcpy(out, block + kAt, 2);
}
// The scale times what the integers are too large by.
template <int kOffset>
void bias(const u8* block, u8* out) {
  const u16 bits = half_of(half_at(block) * -static_cast<float>(kOffset));
  std::memcpy(out, &bits, 2);
}

template <int kBytes, int kOut, void (*kBlock)(const u8*, u8*)>
void each(const u8* blocks, std::size_t count, void* out) {
  auto* to = static_cast<u8*>(out);
  for (; count > 0; --count, blocks += kBytes, to += kOut) kBlock(blocks, to);
}
template <int kBytes, int kOut, void (*kBlock)(const u8*, u8*)>
constexpr BlockPart words() {
  return {"", uint32, kOut / 4, each<kBytes, kOut, kBlock>};
}
template <int kBytes, void (*kBlock)(const u8*, u8*)>
constexpr BlockPart one_half(const char* name) {
  return {name, float16, 1, each<kBytes, 2, kBlock>};
}

template <int kBytes, int kOut, void (*kElements)(const u8*, u8*), void (*kBias)(const u8*, u8*)>
constexpr BlockPart kAffine[] = {words<kBytes, kOut, kElements>(),
                                 one_half<kBytes, half<0>>("scales"),
                                 one_half<kBytes, kBias>("biases")};
constexpr BlockPart kMxfp4[] = {words<17, 16, nibbles<17, 1>>(),
                                {"scales", uint8, 1, each<17, 1, first_byte<17>>}};
constexpr BlockPart kNvfp4[] = {words<36, 32, nvfp4>(),
                                {"scales", uint8, 4, each<36, 4, nvfp4_scales>}};

constexpr GgufType kTypes[] = {
    {0, "F32", 1, 4, float32, {}},
    {1, "F16", 1, 2, float16, {}},
    {2, "Q4_0", 32, 18, {}, kAffine<18, 16, nibbles<18, 2>, bias<8>>},
    {3, "Q4_1", 32, 20, {}, kAffine<20, 16, nibbles<20, 4>, half<2>>},
    {6, "Q5_0", 32, 22, {}, kAffine<22, 20, five_bits<22, 2>, bias<16>>},
    {7, "Q5_1", 32, 24, {}, kAffine<24, 20, five_bits<24, 4>, half<2>>},
    {8, "Q8_0", 32, 34, {}, kAffine<34, 32, signed_bytes, bias<128>>},
    {9, "Q8_1", 0, 0, {}, {}},
    {10, "Q2_K", 256, 84, {}, kHalves<256, 84, q2_k>},
    {11, "Q3_K", 256, 110, {}, kHalves<256, 110, q3_k>},
    {12, "Q4_K", 256, 144, {}, kHalves<256, 144, q45_k<false>>},
    {13, "Q5_K", 256, 176, {}, kHalves<256, 176, q45_k<true>>},
    {14, "Q6_K", 256, 210, {}, kHalves<256, 210, q6_k>},
    {15, "Q8_K", 256, 292, {}, kHalves<256, 292, q8_k>},
    {16, "IQ2_XXS", 0, 0, {}, {}},
    {17, "IQ2_XS", 0, 0, {}, {}},
    {18, "IQ3_XXS", 0, 0, {}, {}},
    {19, "IQ1_S", 0, 0, {}, {}},
    {20, "IQ4_NL", 32, 18, {}, kHalves<32, 18, iq4_nl>},
    {21, "IQ3_S", 0, 0, {}, {}},
    {22, "IQ2_S", 0, 0, {}, {}},
    {23, "IQ4_XS", 256, 136, {}, kHalves<256, 136, iq4_xs>},
    {24, "I8", 1, 1, int8, {}},
    {25, "I16", 1, 2, int16, {}},
    {26, "I32", 1, 4, int32, {}},
    {27, "I64", 1, 8, int64, {}},
    {28, "F64", 1, 8, float64, {}},
    {29, "IQ1_M", 0, 0, {}, {}},
    {30, "BF16", 1, 2, bfloat16, {}},
    {34, "TQ1_0", 0, 0, {}, {}},
    {35, "TQ2_0", 0, 0, {}, {}},
    {39, "MXFP4", 32, 17, {}, kMxfp4},
    {40, "NVFP4", 64, 36, {}, kNvfp4},
    {41, "Q1_0", 0, 0, {}, {}},
};

class FromBlocks final : public Load {
 public:
  FromBlocks(Ref<const Source> source, std::uint64_t begin, const GgufType& type,
             const BlockPart& part, std::string name)
      : source_(std::move(source)),
        begin_(begin),
        type_(type),
        part_(part),
        name_(std::move(name)) {}
  std::string parameters() const override { return origin(*source_, name_ + " of " + type_.name); }

  void read(std::uint64_t begin, std::span<std::byte> out) const override {
    const std::size_t size = part_.bytes();
    std::uint64_t block = begin / size;
    std::size_t skip = begin % size;
    std::vector<u8> raw;
    while (!out.empty()) {
      if (skip > 0 || out.size() < size) {  // a part of a block
        alignas(std::uint64_t) std::array<std::byte, kMostPartBytes> whole;
        make(block, 1, raw, whole.data());
        const std::size_t n = std::min(size - skip, out.size());
        std::memcpy(out.data(), whole.data() + skip, n);
        out = out.subspan(n);
        skip = 0;
        ++block;
        continue;
      }
      const std::size_t count = std::min(out.size() / size, kPiece / bytes());
      make(block, count, raw, out.data());
      out = out.subspan(count * size);
      block += count;
    }
  }

 private:
  static constexpr std::size_t kPiece = 1 << 18;
  std::size_t bytes() const { return static_cast<std::size_t>(type_.bytes); }

  void make(std::uint64_t block, std::size_t count, std::vector<u8>& raw, void* out) const {
    raw.resize(count * bytes());
    source_->read(begin_ + block * bytes(), std::as_writable_bytes(std::span(raw)), name_.c_str());
    part_.read(raw.data(), count, out);
  }

  const Ref<const Source> source_;
  const std::uint64_t begin_;
  const GgufType& type_;
  const BlockPart& part_;
  const std::string name_;
};

}  // namespace

const GgufType* gguf_type(std::uint32_t code) {
  const auto* found =
      std::find_if(std::begin(kTypes), std::end(kTypes), [&](auto& t) { return t.code == code; });
  return found == std::end(kTypes) ? nullptr : found;
}

const GgufType* gguf_type(Dtype plain) {
  const auto* found = std::find_if(std::begin(kTypes), std::end(kTypes),
                                   [&](auto& t) { return t.elements == 1 && t.plain == plain; });
  return found == std::end(kTypes) ? nullptr : found;
}

array block_array(const Ref<const Source>& source, std::uint64_t begin, const GgufType& type,
                  const BlockPart& part, Shape shape, const std::string& name, StreamOrDevice s) {
  const auto from = make_ref<const FromBlocks>(source, begin, type, part, name);
  return loaded_array(*source, from, std::move(shape), part.dtype, s);
}

}  // namespace cermet::io
