// Metal source to a loaded library of native code: translation to C++ for OpenCL, clang, the disk
// cache, loading.
//
// The cache is the folder CERMET_CACHE, or cermet in XDG_CACHE_HOME or ~/.cache. It may be shared
// by processes, lost or damaged at any time.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "metal/simulator/msl/runtime.h"
#include "metal/simulator/translate.h"

namespace cermet::metal::simulator {

struct KernelInfo {
  std::string name;  // as the host knows it
  void (*entry)(const cermet_arguments*);
  std::vector<Parameter> buffers;
  int max_threads;  // of max_total_threads_per_threadgroup where that is a number, else 1024
};

struct FunctionConstant {
  std::string name, type;  // "bool", "int", "uint", "float", ...
  int index;
  void* value;    // set before a launch
  bool* defined;  // for is_function_constant_defined
};

class CompiledLibrary {
 public:
  // The code stays loaded as long as this object.
  virtual ~CompiledLibrary() = default;
  std::vector<KernelInfo> kernels;
  std::vector<FunctionConstant> constants;
  cermet_runtime_table** runtime = nullptr;
  cermet_thread** current = nullptr;
  // The library's own image: constant data lies there.
  std::uintptr_t begin = 0, end = 0;
  // Where a return address in the code comes from; line 0 when unknown.
  virtual SourceLocation locate(const void* address) const = 0;
};

// Compiles, or loads from the disk cache. `label` names the source in errors where it has no #line.
// `instrumented` builds call runtime->access for every memory access. Throws CompileError, and
// std::runtime_error when there is no compiler.
std::shared_ptr<CompiledLibrary> compile(const std::string& source, const std::string& label,
                                         bool instrumented);

// Whether a compiler was found: CERMET_ZIG, the `zig` given to set_compiler, or `zig` on the PATH.
bool compiler_available();
// The zig executable to use (the Python package finds the one of ziglang).
void set_compiler(const std::string& path);

// The texts of Metal's standard library (the files of msl/), by name; from the build.
const std::vector<std::pair<std::string_view, std::string_view>>& embedded_headers();

// For a checker with a parser of its own: the source after the preprocessor where it needs one, and
// the arguments with which clang takes its translation (which they put after Metal's library).
struct Preprocessing {
  std::vector<std::string> include;           // folders
  std::map<std::string, std::string> macros;  // predefined
};
std::string preprocess(const std::string& source, const std::string& label,
                       const Preprocessing& with = {});
std::vector<std::string> front_end_arguments();
// Clang's words to Metal's.
std::string in_metal_terms(std::string message);

}  // namespace cermet::metal::simulator
