// Kernels by their source: what is known of one before it is compiled, and compiling several at
// once.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "metal/backend.h"

namespace cermet::metal {

// A kernel is looked up once and lives as long as the process. Its pipeline is made when it is
// first needed.
class KernelSource final : public Kernel {
 public:
  // `file`: the embedded files whose text goes before `text`. `alone`: compiled in a library of its
  // own (a user's kernel, whose errors and names concern nobody else).
  KernelSource(std::string name, std::vector<std::string> files, std::string text,
               std::vector<Constant> constants, bool alone)
      : name(std::move(name)),
        files(std::move(files)),
        text(std::move(text)),
        constants(std::move(constants)),
        alone(alone) {}
  int max_threads() const override;

  const std::string name;
  const std::vector<std::string> files;
  const std::string text;
  const std::vector<Constant> constants;
  const bool alone;
  mutable std::shared_ptr<Pipeline> pipeline;  // under the registry's mutex until it is set
};

// Compiles what is not compiled yet, in one library where that is possible. Throws CompileError.
void compile(std::span<const KernelSource* const> kernels);
// A user's kernel: compiled at once. `text` is all but metal/kernel.h.
const Kernel& custom_kernel(const std::string& name, const std::string& text);

// The text of an embedded file of metal/ with its includes in place, each file once. `seen` has the
// files that stand before it.
std::string flatten(const std::string& file, std::vector<std::string>& seen);
// The texts of all files of metal/, by name.
const std::vector<std::pair<std::string_view, std::string_view>>& embedded_files();

}  // namespace cermet::metal
