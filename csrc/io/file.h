// What the file formats share: errors that name the file, and whole-file access.
#pragma once

#include <cstddef>
#include <istream>
#include <string>

#include "cermet/memory.h"

namespace cermet::io {

// Throws std::runtime_error "<operation>: <file>: <what is wrong>".
[[noreturn]] void fail(const char* operation, const std::string& file, const std::string& what);

// The bytes of a file, mapped where the system allows it: pages are read when touched.
Ref<Buffer> map_file(const char* operation, const std::string& path);
// The bytes that are left in a stream.
Ref<Buffer> read_all(std::istream& in);

}  // namespace cermet::io
