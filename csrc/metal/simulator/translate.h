// Metal source to clang's C++ for OpenCL, by rewriting tokens: kernels and their arguments,
// threadgroup variables, function constants, vector constructors. Types are left to the compiler.
#pragma once

#include <string>
#include <vector>

namespace cermet::metal::simulator {

// A line of a Metal source.
struct SourceLocation {
  std::string file;
  int line = 0, column = 0;
};

// "file:line:column"
std::string to_string(const SourceLocation& location);

// A problem found in a source: what Metal rejects.
struct Diagnostic {
  SourceLocation location;
  std::string message;
};

// A buffer that a kernel takes.
struct Parameter {
  int slot;
  bool constant;  // in the constant address space
  bool writable;
  bool optional;  // bound only where a function constant says so
};

struct Translation {
  struct Kernel {
    std::string name;    // as the host knows it
    std::string symbol;  // of its entry point in the translated text
    std::vector<Parameter> buffers;
    int max_threads;
  };
  // The symbols are cermet_constant_<index> and cermet_defined_<index>.
  struct Constant {
    std::string name, type;
    int index;
  };
  // From this column of a line of the translated text on, columns are to be moved by `shift`.
  struct ColumnShift {
    std::string file;
    int line, column, shift;
  };

  std::string text;  // lines keep their file and number
  std::vector<Kernel> kernels;
  std::vector<Constant> constants;
  std::vector<ColumnShift> shifts;
  std::vector<Diagnostic> diagnostics;  // an empty list: accepted

  // The location in the Metal source of one in the translated text.
  SourceLocation original(SourceLocation location) const;
};

// Rewrites the operators at these places of the translated text, between a vector and a scalar of
// greater rank, so that the scalar is converted. False where there is none.
bool narrow_scalars(Translation& translation, const std::vector<SourceLocation>& operators);

// Whether the source has directives that need a preprocessor before it is translated: any but
// #pragma, #line and includes of Metal's own headers.
bool needs_preprocessor(const std::string& source);

// Translates preprocessed source. `path` names it where it has no line markers. `strict` is for
// checking: methods without an address space get Metal's own default, `thread`.
Translation translate(const std::string& source, const std::string& path, bool strict);

}  // namespace cermet::metal::simulator
