// What reading and writing GGUF share: its numbers, its types of tensors, and what becomes of their
// blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "io/stored.h"

namespace cermet::io {

inline constexpr std::string_view kGgufMagic = "GGUF";
inline constexpr std::uint32_t kGgufVersion = 3;
// Types of metadata beside those of numbers.
inline constexpr std::uint32_t kGgufText = 8, kGgufList = 9;
std::optional<Dtype> gguf_number(std::uint32_t code);
std::optional<std::uint32_t> gguf_number_code(Dtype dtype);
inline constexpr int kGgufDeepest = 8;  // lists in lists
// What the places of tensors are multiples of: 32 if metadata does not say. Whatever is wrong with
// that is a std::invalid_argument that begins with `before`.
std::uint64_t gguf_alignment(const GgufMetadata& metadata, const std::string& before);
// What is beside "a.weight" as `part`, "scales" say: "a.scales".
std::string gguf_name_beside(std::string name, const std::string& part);

// An array that is made of a tensor's blocks.
struct BlockPart {
  const char* name;  // of what is beside the elements: "scales", "biases"
  Dtype dtype;
  int count;  // elements from each block
  void (*read)(const std::uint8_t* blocks, std::size_t blocks_count, void* out);
  std::size_t bytes() const { return static_cast<std::size_t>(count) * size_of(dtype); }
};
inline constexpr std::size_t kMostPartBytes = 512;

struct GgufType {
  std::uint32_t code;
  const char* name;
  int elements, bytes;  // of a block, which is a part of a row; 0: it is not supported
  Dtype plain;          // where a block is one element
  std::span<const BlockPart> parts;
};
// Null for a code that nothing is known of.
const GgufType* gguf_type(std::uint32_t code);
// Null where it has none of that type.
const GgufType* gguf_type(Dtype plain);

// The part of the blocks from `begin` on that make up an array of `shape`.
array block_array(const Ref<const Source>& source, std::uint64_t begin, const GgufType& type,
                  const BlockPart& part, Shape shape, const std::string& name, StreamOrDevice s);

}  // namespace cermet::io
