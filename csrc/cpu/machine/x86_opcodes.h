// The vector instructions of x86-64 that steps become, by their opcodes.
#pragma once

#include "cpu/machine/x86_encoder.h"

namespace cermet::cpu::machine::x86 {

// clang-format off
inline constexpr Opcode kLoad{kMap0F, kNone, 0x10}, kStore{kMap0F, kNone, 0x11}, kStream{kMap0F, kNone, 0x2b}, kMove{kMap0F, kNone, 0x28};
inline constexpr Opcode kAnd{kMap0F, kNone, 0x54}, kOr{kMap0F, kNone, 0x56}, kXor{kMap0F, kNone, 0x57};
inline constexpr Opcode kAdd{kMap0F, kNone, 0x58}, kMultiply{kMap0F, kNone, 0x59};
inline constexpr Opcode kSubtract{kMap0F, kNone, 0x5c}, kDivide{kMap0F, kNone, 0x5e};
inline constexpr Opcode kSqrt{kMap0F, kNone, 0x51}, kScale{kMap38, k66, 0x2c}, kRound{kMap3A, k66, 0x08}, kCompare{kMap0F, kNone, 0xc2};
inline constexpr Opcode kFromInt{kMap0F, kNone, 0x5b}, kToInt{kMap0F, kF3, 0x5b};
inline constexpr Opcode kFromUnsigned{kMap0F, kF2, 0x7a}, kToUnsigned{kMap0F, kNone, 0x78};
inline constexpr Opcode kIntAdd{kMap0F, k66, 0xfe}, kIntSubtract{kMap0F, k66, 0xfa}, kIntMultiply{kMap38, k66, 0x40};
inline constexpr Opcode kShiftBy{kMap0F, k66, 0x72};  // an immediate; 6: left, 2: right, 4: with the sign
inline constexpr Opcode kShiftLeft{kMap38, k66, 0x47}, kShiftRight{kMap38, k66, 0x45}, kShiftSigned{kMap38, k66, 0x46};
inline constexpr Opcode kIntEqual{kMap0F, k66, 0x76}, kIntGreater{kMap0F, k66, 0x66};
inline constexpr Opcode kMaximum{kMap0F, kNone, 0x5f}, kMinimum{kMap0F, kNone, 0x5d}, kIntMax{kMap38, k66, 0x3d}, kIntMin{kMap38, k66, 0x39};
inline constexpr Opcode kShuffle128{kMap3A, k66, 0x43}, kPermute{kMap3A, k66, 0x04}, kWordToGeneral{kMap0F, k66, 0x7e};
inline constexpr Opcode kUnsignedMin{kMap38, k66, 0x3b}, kUnsignedMax{kMap38, k66, 0x3f};
inline constexpr Opcode kIntCompare{kMap3A, k66, 0x1f}, kUnsignedCompare{kMap3A, k66, 0x1e};
inline constexpr Opcode kBlend{kMap38, k66, 0x65}, kBlendVector{kMap3A, k66, 0x4a}, kTernary{kMap3A, k66, 0x25};
inline constexpr Opcode kBroadcast{kMap38, k66, 0x18}, kBroadcastGeneral{kMap38, k66, 0x7c}, kMoveWord{kMap0F, k66, 0x6e};
inline constexpr Opcode kWidenHalf{kMap38, k66, 0x13}, kNarrowHalf{kMap3A, k66, 0x1d};
inline constexpr Opcode kFromU8{kMap38, k66, 0x31}, kFromU16{kMap38, k66, 0x33};
inline constexpr Opcode kFromS8{kMap38, k66, 0x21}, kFromS16{kMap38, k66, 0x23};
inline constexpr Opcode kTo8{kMap38, kF3, 0x31}, kTo16{kMap38, kF3, 0x33};
inline constexpr Opcode kPackWords{kMap38, k66, 0x2b}, kPackBytes{kMap0F, k66, 0x67}, kUpperHalf{kMap3A, k66, 0x39};
inline constexpr Opcode kStore128{kMap0F, kF3, 0x7f}, kStore64{kMap0F, k66, 0xd6}, kTest{kMap38, k66, 0x0e};
inline constexpr Opcode kTestBits{kMap38, k66, 0x27};
// Of masks.
inline constexpr Opcode kMaskAnd{kMap0F, kNone, 0x41}, kMaskOr{kMap0F, kNone, 0x45}, kMaskXor{kMap0F, kNone, 0x47};
inline constexpr Opcode kMaskNot{kMap0F, kNone, 0x44}, kMaskTest{kMap0F, kNone, 0x98};
inline constexpr Opcode kMaskLoad{kMap0F, kNone, 0x90}, kMaskStore{kMap0F, kNone, 0x91};
// clang-format on

}  // namespace cermet::cpu::machine::x86
