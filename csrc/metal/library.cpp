// The registry of kernels and their compilation.
#include "metal/library.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <sstream>

#include "metal/program.h"

namespace cermet::metal {
namespace {

// The one global state of kernels: every kernel asked for so far, by name and constants.
struct Registry {
  std::recursive_mutex mutex;
  std::map<std::string, std::unique_ptr<KernelSource>, std::less<>> kernels;
};
Registry& registry() {
  static Registry* const r = new Registry;  // kernels outlive every static object
  return *r;
}

template <class Make>
const KernelSource& find_or_make(const std::string& key, Make&& make) {
  Registry& r = registry();
  std::scoped_lock lock(r.mutex);
  std::unique_ptr<KernelSource>& entry = r.kernels[key];
  if (!entry) entry = make();
  return *entry;
}

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
std::string combine(std::span<const KernelSource* const> kernels) {
  std::string text(kPrologue);
  std::vector<std::string> seen;
  for (const KernelSource* k : kernels)
    for (const std::string& file : k->files) text += flatten(file, seen);
  for (std::size_t i = 0; i < kernels.size(); ++i) {
    // The same text with other constants, or another kernel of it, stands there already.
    const bool repeated = std::any_of(kernels.begin(), kernels.begin() + i,
                                      [&](const auto* k) { return k->text == kernels[i]->text; });
    if (!repeated) text += "#line 1 \"" + kernels[i]->name + ".metal\"\n" + kernels[i]->text + "\n";
  }
  return text;
}

void build(std::span<const KernelSource* const> kernels) {
  const auto library = device()->library(combine(kernels), kernels[0]->name);
  for (const KernelSource* k : kernels)
    k->pipeline = library->pipeline(k->name, {k->constants.data(), k->constants.size()});
}

}  // namespace

std::string flatten(const std::string& file, std::vector<std::string>& seen) {
  if (std::find(seen.begin(), seen.end(), file) != seen.end()) return "";
  seen.push_back(file);
  std::istringstream in{std::string(embedded(file))};
  std::ostringstream out;
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

void compile(std::span<const KernelSource* const> kernels) {
  std::scoped_lock lock(registry().mutex);
  std::vector<const KernelSource*> missing;
  for (const KernelSource* k : kernels) {
    if (k->pipeline || std::find(missing.begin(), missing.end(), k) != missing.end()) continue;
    if (k->alone) {
      const KernelSource* const one[] = {k};
      build(one);
    } else {
      missing.push_back(k);
    }
  }
  if (!missing.empty()) build(missing);
}

int KernelSource::max_threads() const {
  const KernelSource* const one[] = {this};
  compile(one);
  return pipeline->max_threads();
}

const Kernel& kernel(std::string_view family, std::string_view function,
                     std::initializer_list<std::string> arguments,
                     std::span<const Constant> constants) {
  std::string list;
  for (const std::string& a : arguments) list += (list.empty() ? "" : ", ") + a;
  const std::string instance = std::string(function) + (list.empty() ? "" : "<" + list + ">");
  std::string key = std::string(family) + ":" + instance;
  for (const Constant& c : constants)
    key += ":" + std::to_string(c.index) + "=" + std::to_string(c.bits);
  return find_or_make(key, [&] {
    const std::string name = identifier(std::string(function) + "_" + list);
    return std::make_unique<KernelSource>(
        name, std::vector<std::string>{std::string(family) + ".metal"},
        "template [[host_name(\"" + name + "\")]] [[kernel]] decltype(" + instance + ") " +
            instance + ";\n",
        std::vector<Constant>(constants.begin(), constants.end()), /*alone=*/false);
  });
}

const Kernel& kernel(const ProgramKernel& program) {
  return find_or_make("program:" + program.name, [&] {
    return std::make_unique<KernelSource>(program.name,
                                          std::vector<std::string>{"types.h", "reduce.h"},
                                          program.text, std::vector<Constant>{}, /*alone=*/false);
  });
}

const Kernel& custom_kernel(const std::string& name, const std::string& text) {
  const KernelSource& k = find_or_make("custom:" + text, [&] {
    return std::make_unique<KernelSource>(name, std::vector<std::string>{"kernel.h"}, text,
                                          std::vector<Constant>{}, /*alone=*/true);
  });
  const KernelSource* const one[] = {&k};
  compile(one);
  return k;
}

}  // namespace cermet::metal
