// What the formats share: an error of theirs, and arrays of the bytes that a file has.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "cermet/io.h"
#include "graph/primitives/creation.h"

namespace cermet::io {

// Throws FormatError "<operation>: <file>: <what is wrong>".
[[noreturn]] void fail(const char* operation, const std::string& file, const std::string& what);

// Where the elements of an array lie, row-major.
struct Stored {
  std::uint64_t begin = 0;
  Dtype dtype = float32;
  Shape shape;
  bool swapped = false;              // big-endian
  std::optional<std::uint32_t> crc;  // of the elements: a remainder that goes on from the header's
  std::uint32_t crc_before = 0;      // that of the header
  std::string part;                  // its name, for errors
};
// A lazy array where the source stays as it is.
array stored_array(const Ref<const Source>& source, Stored stored, StreamOrDevice s);
// The same of elements that `from` makes of the source's bytes.
array loaded_array(const Source& source, const Ref<const Load>& from, Shape shape, Dtype dtype,
                   StreamOrDevice s);
// What `explain` says of such an array; `part` as in Stored.
std::string origin(const Source& source, const std::string& part);

// An npy file that lies at [begin, begin + size) of a source; `crc`, if known, is that of its
// bytes.
array load_npy(const Ref<const Source>& source, std::uint64_t begin, std::uint64_t size,
               const std::string& part, std::optional<std::uint32_t> crc, StreamOrDevice s);
// The header of an npy file of an array.
std::string npy_header(const array& a);

// The CRC-32 of zip archives, continued from that of the bytes before.
std::uint32_t crc32(std::uint32_t before, std::span<const std::byte> bytes);

// The bytes of a text or of any object.
inline std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}
// The elements of an evaluated row-major array.
inline std::span<const std::byte> bytes_of(const array& a) {
  return {static_cast<const std::byte*>(a.raw_data()), a.nbytes()};
}

}  // namespace cermet::io
