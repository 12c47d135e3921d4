// From source to a loaded library, through the memory of this process and the disk cache.
#include "metal/simulator/compile.h"

#include <dlfcn.h>
#include <elf.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>

#include "metal/device.h"
#include "metal/simulator/cache.h"
#include "metal/simulator/lines.h"
#include "metal/simulator/toolchain.h"

namespace cermet::metal::simulator {

// The tables of a library travel in it, as JSON in a constant string.
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Parameter, slot, constant, writable, optional)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Translation::Kernel, name, symbol, buffers, max_threads)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Translation::Constant, name, type, index)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Translation::ColumnShift, file, line, column, shift)

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct Close {
  void operator()(void* handle) const { dlclose(handle); }
};
using Handle = std::unique_ptr<void, Close>;

class Library : public CompiledLibrary {
 public:
  Library(Handle handle, std::string image) : handle_(std::move(handle)), image_(std::move(image)) {
    const json table = json::parse(symbol<const char>("cermet_table"));
    table.at("shifts").get_to(columns_.shifts);
    for (const auto& k : table.at("kernels").get<std::vector<Translation::Kernel>>()) {
      const auto entry = symbol<void(const cermet_arguments*)>(k.symbol);
      kernels.push_back({k.name, entry, k.buffers, k.max_threads});
    }
    for (const auto& c : table.at("constants").get<std::vector<Translation::Constant>>()) {
      const std::string number = std::to_string(c.index);
      constants.push_back({c.name, c.type, c.index, symbol<char>("cermet_constant_" + number),
                           symbol<bool>("cermet_defined_" + number)});
    }
    runtime = symbol<cermet_runtime_table*>("cermet_runtime");
    current = symbol<cermet_thread*>("cermet_current");
    find_extent();
  }

  SourceLocation locate(const void* address) const override {
    std::call_once(decoded_, [&] { lines_ = LineTable(std::as_bytes(std::span(image_))); });
    const auto place = reinterpret_cast<std::uintptr_t>(address);
    if (place <= begin || place > end) return {};
    return columns_.original(lines_.find(place - 1 - begin));  // the call is before
  }

 private:
  template <class T>
  T* symbol(const std::string& name) const {
    void* address = dlsym(handle_.get(), name.c_str());
    if (address == nullptr) throw std::runtime_error("no " + name + " in a kernel library");
    return reinterpret_cast<T*>(address);
  }

  void find_extent() {
    Dl_info info;
    if (dladdr(runtime, &info) == 0) throw std::runtime_error("a kernel library is not mapped");
    begin = end = reinterpret_cast<std::uintptr_t>(info.dli_fbase);
    const auto* header = static_cast<const Elf64_Ehdr*>(info.dli_fbase);
    const auto* segments = reinterpret_cast<const Elf64_Phdr*>(begin + header->e_phoff);
    for (int i = 0; i < header->e_phnum; ++i) {
      if (segments[i].p_type != PT_LOAD) continue;
      end = std::max<std::uintptr_t>(end, begin + segments[i].p_vaddr + segments[i].p_memsz);
    }
  }

  Handle handle_;
  std::string image_;
  Translation columns_;  // only its shifts
  mutable std::once_flag decoded_;
  mutable LineTable lines_;
};

// Null where the file is missing, damaged or of something else.
std::shared_ptr<CompiledLibrary> load(const fs::path& file, const std::string& identity) {
  // Kernels call the C library's mathematics, which a host need not have made visible.
  static void* const mathematics = dlopen("libm.so.6", RTLD_NOW | RTLD_GLOBAL);
  static_cast<void>(mathematics);
  std::string image = read_sealed(file);
  if (!image.ends_with(identity)) return nullptr;
  Handle handle(dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL));
  if (!handle) return nullptr;
  return std::make_shared<Library>(std::move(handle), std::move(image));
}

std::string with_table(const Translation& t) {
  const json table = {{"kernels", t.kernels}, {"constants", t.constants}, {"shifts", t.shifts}};
  // A JSON string is a C++ string too.
  return t.text +
         "\nextern \"C\" MSL_EXPORT constant char cermet_table[] = " + json(table.dump()).dump() +
         ";\n";
}

Translation translate_or_throw(const std::string& source, const std::string& label) {
  Translation translation = translate(source, label, false);
  if (translation.diagnostics.empty()) return translation;
  std::string errors;
  for (const Diagnostic& d : translation.diagnostics) {
    if (!errors.empty()) errors += '\n';
    errors += to_string(d.location) + ": error: " + d.message;
  }
  throw CompileError(errors);
}

// A library while somebody has it. Its mutex is held while it is compiled.
struct Entry {
  std::mutex mutex;
  std::weak_ptr<CompiledLibrary> library;
};

// The entry of all that a library depends on.
std::shared_ptr<Entry> entry_of(const std::string& identity) {
  static std::mutex mutex;
  static std::map<std::string, std::shared_ptr<Entry>> entries;
  const std::scoped_lock lock(mutex);
  std::erase_if(entries, [](const auto& e) {
    return e.second.use_count() == 1 && e.second->library.expired();
  });
  std::shared_ptr<Entry>& entry = entries[identity];
  if (!entry) entry = std::make_shared<Entry>();
  return entry;
}

}  // namespace

std::shared_ptr<CompiledLibrary> compile(const std::string& source, const std::string& label,
                                         bool instrumented) {
  // Included files are part of the source.
  const bool includes = source.find("#include \"") != std::string::npos;
  const std::string whole = includes ? preprocess(source, label) : source;
  const std::string identity = whole + "\n" + label + "\n" + toolchain_fingerprint(instrumented) +
                               "\n" + std::to_string(whole.size());
  const std::shared_ptr<Entry> entry = entry_of(identity);
  const std::scoped_lock lock(entry->mutex);
  if (auto library = entry->library.lock()) return library;
  const fs::path folder = cache_folder(), file = folder / (fingerprint({identity}) + ".so");
  auto library = load(file, identity);
  if (!library) {
    const Translation translation =
        translate_or_throw(includes ? whole : preprocess(source, label), label);
    const ScratchFolder scratch(folder);
    const fs::path made = scratch.path() / "kernels.so";
    build(translation, with_table, label, instrumented, scratch.path(), made);
    seal(made, identity);
    fs::rename(made, file);
    library = load(file, identity);
    if (!library) {
      const char* reason = dlerror();
      throw std::runtime_error("a compiled kernel library cannot be loaded: " +
                               std::string(reason ? reason : file.string()));
    }
  }
  entry->library = library;
  return library;
}

}  // namespace cermet::metal::simulator
