// The compiler: zig's clang and linker, run as processes, with Metal's standard library.
#pragma once

#include <filesystem>
#include <string>

#include "metal/simulator/translate.h"

namespace cermet::metal::simulator {

// All that the compiled code depends on besides its source: the compiler, its flags, Metal's
// library. Throws std::runtime_error when there is no compiler.
std::string toolchain_fingerprint(bool instrumented);

// Compiles a translation to a shared library, with files in `scratch`; `complete` gives its whole
// text. Throws CompileError.
void build(Translation translation, std::string (*complete)(const Translation&),
           const std::string& label, bool instrumented, const std::filesystem::path& scratch,
           const std::filesystem::path& library);

}  // namespace cermet::metal::simulator
