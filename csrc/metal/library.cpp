// The cache of kernels and their compilation.
#include "metal/library.h"

#include <algorithm>
#include <sstream>

#include "graph/text.h"
#include "metal/program.h"

namespace cermet::metal {
namespace {

constexpr std::size_t kMaxKernels = 2048;

std::string_view embedded(std::string_view file) {
  for (const auto& [name, text] : embedded_files())
    if (name == file) return text;
  throw std::invalid_argument("metal: there is no kernel file " + std::string(file));
}

// A name made of what may stand in one.
std::string identifier(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (std::isalnum(static_cast<unsigned char>(c)))
      out += c;
    else if (!out.empty() && out.back() != '_')
      out += '_';
  }
  return out;
}

constexpr std::string_view kPrologue = "#include <metal_stdlib>\nusing namespace metal;\n";

// One source with all kernels in it.
std::string combine(std::span<KernelSource* const> kernels) {
  std::string text(kPrologue);
  std::vector<std::string> seen;
  for (const KernelSource* k : kernels)
    for (const std::string& file : k->files) text += flatten(file, seen);
  for (std::size_t i = 0; i < kernels.size(); ++i) {
    // The same text with other constants stands there already.
    const bool repeated = std::any_of(kernels.begin(), kernels.begin() + i,
                                      [&](const auto* k) { return k->text == kernels[i]->text; });
    if (!repeated) text += "#line 1 \"" + kernels[i]->name + ".metal\"\n" + kernels[i]->text + "\n";
  }
  return text;
}

// A library has one text of a name.
bool may_join(const KernelSource& kernel, std::span<KernelSource* const> others) {
  return !kernel.alone && std::none_of(others.begin(), others.end(), [&](const KernelSource* k) {
    return k->name == kernel.name && k->text != kernel.text;
  });
}

}  // namespace

std::string flatten(const std::string& file, std::vector<std::string>& seen) {
  if (std::find(seen.begin(), seen.end(), file) != seen.end()) return "";
  seen.push_back(file);
  std::istringstream in{std::string(embedded(file))};
  in.exceptions(std::ios::badbit);
  Text out;
  out << "#line 1 \"" << file << "\"\n";
  int number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    if (line.starts_with("#pragma once")) {
      out << "\n";
    } else if (line.starts_with("#include \"")) {
      const std::size_t end = line.find('"', 10);
      out << flatten(line.substr(10, end - 10), seen) << "#line " << number + 1 << " \"" << file
          << "\"\n";
    } else {
      out << line << "\n";
    }
  }
  return out.str();
}

std::vector<KernelCache::Outcome> KernelCache::build(std::span<KernelSource* const> kernels) {
  std::vector<Outcome> out(kernels.size());
  try {
    const auto library = device_.library(combine(kernels), kernels[0]->name);
    for (std::size_t i = 0; i < kernels.size(); ++i)
      out[i].pipeline = library->pipeline(kernels[i]->name, kernels[i]->constants);
  } catch (...) {
    // One bad kernel spoils the library of all: each has its own then.
    if (kernels.size() == 1) out[0].error = std::current_exception();
    for (std::size_t i = 0; kernels.size() > 1 && i < kernels.size(); ++i)
      out[i] = std::move(build(kernels.subspan(i, 1))[0]);
  }
  return out;
}

std::vector<std::exception_ptr> KernelCache::compile(std::span<const Kernel> kernels) {
  std::vector<std::exception_ptr> errors(kernels.size());
  std::vector<std::vector<KernelSource*>> libraries(1);  // the first has what can be together
  std::unique_lock lock(mutex_);
  for (const Kernel& k : kernels) {
    KernelSource& source = *k.source;
    if (source.pipeline || source.building) continue;
    if (may_join(source, libraries[0]))
      libraries[0].push_back(&source);
    else
      libraries.push_back({&source});
    source.building = true;
  }
  for (const auto& library : libraries) {
    if (library.empty()) continue;
    lock.unlock();
    std::vector<Outcome> outcomes = build(library);
    lock.lock();
    for (std::size_t i = 0; i < library.size(); ++i) {
      compiled_ += !outcomes[i].error;
      library[i]->pipeline = std::move(outcomes[i].pipeline);
      library[i]->error = outcomes[i].error;
      library[i]->building = false;
    }
    built_.notify_all();
  }
  for (std::size_t i = 0; i < kernels.size(); ++i) {
    const KernelSource& source = *kernels[i].source;
    built_.wait(lock, [&] { return !source.building; });  // by another thread
    if (!source.pipeline) errors[i] = source.error;
  }
  return errors;
}

KernelCache::Counts KernelCache::counts() {
  const std::scoped_lock lock(mutex_);
  return {kernels_.size(), kernels_.dropped(), compiled_};
}

KernelCache& kernel_cache() {
  // Streams use it until the process ends.
  static KernelCache* const cache = new KernelCache(*device(), kMaxKernels);
  return *cache;
}

int Kernel::max_threads() const {
  if (const auto error = kernel_cache().compile({this, 1})[0]) std::rethrow_exception(error);
  return source->pipeline->max_threads();
}

Kernel kernel(std::string_view family, std::string_view function,
              std::initializer_list<std::string> arguments, std::span<const Constant> constants) {
  std::string list;
  for (const std::string& a : arguments) list += (list.empty() ? "" : ", ") + a;
  const std::string instance = std::string(function) + (list.empty() ? "" : "<" + list + ">");
  std::string key = std::string(family) + ":" + instance;
  for (const Constant& c : constants)
    key.append(":").append(std::to_string(c.index)).append("=").append(std::to_string(c.bits));
  return kernel_cache().find(std::move(key), [&] {
    const std::string name = identifier(std::string(function) + "_" + list);
    return KernelSource{name,
                        {std::string(family) + ".metal"},
                        "template [[host_name(\"" + name + "\")]] [[kernel]] decltype(" + instance +
                            ") " + instance + ";\n",
                        {constants.begin(), constants.end()}};
  });
}

Kernel kernel(const ProgramKernel& program) {
  return kernel_cache().find("program:" + program.text, [&] {
    return KernelSource{program.name, {"types.h", "reduce.h"}, program.text, {}};
  });
}

Kernel custom_kernel(const std::string& name, const std::string& text) {
  Kernel k = kernel_cache().find(
      "custom:" + text, [&] { return KernelSource{name, {"kernel.h"}, text, {}, /*alone=*/true}; });
  k.max_threads();
  return k;
}

}  // namespace cermet::metal
