// Finding, calling and understanding the compiler. Metal's library is written to the cache and
// precompiled once; a kernel then takes one run of clang and one of the linker.
#include "metal/simulator/toolchain.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "metal/device.h"
#include "metal/simulator/cache.h"
#include "metal/simulator/compile.h"

extern char** environ;

namespace cermet::metal::simulator {

namespace {

namespace fs = std::filesystem;
using Arguments = std::vector<std::string>;

// ---- The compiler ------------------------------------------------------------------------
struct Choice {
  std::mutex mutex;
  std::string path;  // given to set_compiler
};
Choice& choice() {
  static Choice c;
  return c;
}

bool is_executable(const std::string& path) { return access(path.c_str(), X_OK) == 0; }

std::string find_compiler() {
  if (const char* path = std::getenv("CERMET_ZIG"); path != nullptr && *path != '\0') return path;
  {
    std::scoped_lock lock(choice().mutex);
    if (!choice().path.empty()) return choice().path;
  }
  const char* variable = std::getenv("PATH");
  std::string_view rest = variable == nullptr ? "" : variable;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(':'), rest.size());
    const std::string path = std::string(rest.substr(0, end)) + "/zig";
    if (is_executable(path)) return path;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return "";
}

std::string compiler() {
  const std::string path = find_compiler();
  if (path.empty() || !is_executable(path))
    throw std::runtime_error(
        "the Metal simulator needs zig's clang" +
        (path.empty() ? ", and found none" : ": " + path + " cannot be executed") +
        ". Install the Python package ziglang, or name the executable in CERMET_ZIG");
  return path;
}

void append(Arguments& to, const Arguments& more) { to.insert(to.end(), more.begin(), more.end()); }

// ---- Its arguments -----------------------------------------------------------------------
// C++ for OpenCL with half, without double.
const Arguments& language() {
  // clang-format off
  static const Arguments arguments = {
      "-x", "cl", "-cl-std=clc++2021", "-cl-no-stdinc", "-Xclang",
      "-cl-ext=+cl_khr_fp16,-cl_khr_fp64,-__opencl_c_fp64,+__opencl_c_generic_address_space,"
      "+__opencl_c_program_scope_global_variables,+__cl_clang_function_pointers,"
      "+__cl_clang_bitfields",
      "-Xclang", "-fnative-half-type", "-Xclang", "-fnative-half-arguments-and-returns",
      "-Xclang", "-fbfloat16-excess-precision=none",  // each operation rounds
      "-fsigned-char", "-ffp-contract=off", "-fno-elide-type",
#if defined(__x86_64__)
      "-target", "x86_64-linux-gnu",
      __builtin_cpu_supports("x86-64-v3") ? "-march=x86-64-v3" : "-march=x86-64-v2",
#elif defined(__aarch64__)
      "-target", "aarch64-linux-gnu",
#endif
  };
  // clang-format on
  return arguments;
}

// What makes debugging exact: no access is merged, invented or turned into a call, and a return
// address belongs to the line of its call.
Arguments code_generation(bool instrumented) {
  // clang-format off
  Arguments arguments = {
      "-O1", "-fno-builtin", "-fno-vectorize", "-fno-slp-vectorize",
      "-fPIC", "-fvisibility=hidden", "-gline-tables-only", "-gdwarf-4",
      "-w", "-fno-caret-diagnostics", "-fno-optimize-sibling-calls"};
  // clang-format on
  if (instrumented)
    append(arguments, {"-fsanitize=thread", "-mllvm", "-tsan-instrument-func-entry-exit=0",
                       "-mllvm", "-tsan-instrument-read-before-write"});
  return arguments;
}

std::string joined(const Arguments& arguments) {
  std::string text;
  for (const std::string& a : arguments) text += a + ' ';
  return text;
}

// ---- Running it --------------------------------------------------------------------------
struct Outcome {
  bool success;
  std::string messages;  // its standard error
};

Outcome run(const Arguments& arguments) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw std::system_error(errno, std::generic_category(), "pipe");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
  std::vector<char*> argv;
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  pid_t child = 0;
  const int error = posix_spawn(&child, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  Outcome outcome{false, ""};
  char buffer[4096];
  for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0 || (n < 0 && errno == EINTR);)
    if (n > 0) outcome.messages.append(buffer, n);
  close(ends[0]);
  if (error != 0) throw std::system_error(error, std::generic_category(), arguments[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  outcome.success = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  return outcome;
}

// ---- Metal's standard library ------------------------------------------------------------
// What a source may include. The library is always there, so they are empty.
constexpr const char* kMetalHeaders[] = {
    "metal_algorithm", "metal_array",      "metal_assert",      "metal_atomic",
    "metal_common",    "metal_compute",    "metal_config",      "metal_geometric",
    "metal_graphics",  "metal_integer",    "metal_limits",      "metal_logging",
    "metal_math",      "metal_matrix",     "metal_numeric",     "metal_pack",
    "metal_quadgroup", "metal_relational", "metal_simdgroup",   "metal_simdgroup_matrix",
    "metal_stdlib",    "metal_texture",    "metal_type_traits", "metal_types",
    "metal_uniform",   "simd/simd.h",      "simd/vector.h",     "simd/matrix.h"};

std::string headers_fingerprint() {
  static const std::string hash = [] {
    std::string all;
    for (const auto& [name, text] : embedded_headers()) all += fingerprint({name, text});
    return fingerprint({all});
  }();
  return hash;
}

void install(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::rename(from, to, error);  // replaces a file at once; another process may have been first
  if (error && !fs::exists(to)) throw std::system_error(error, "cannot write " + to.string());
}

// The folder with the library's headers, written and checked once a process and cache.
fs::path headers_folder() {
  static std::mutex mutex;
  static std::map<std::string, bool> checked;
  const fs::path folder = cache_folder() / ("msl-" + headers_fingerprint());
  std::scoped_lock lock(mutex);
  bool& done = checked[folder.string()];
  if (done && fs::exists(folder)) return folder;
  fs::create_directories(folder);
  const ScratchFolder scratch(cache_folder());
  const auto write = [&](const fs::path& name, const std::string& text) {
    if (fs::exists(folder / name) && read_file(folder / name) == text) return;
    fs::create_directories((folder / name).parent_path());
    write_file(scratch.path() / name.filename(), text);
    install(scratch.path() / name.filename(), folder / name);
  };
  for (const auto& [name, text] : embedded_headers()) write(name, std::string(text));
  for (const char* name : kMetalHeaders) write(fs::path("include") / name, "");
  done = true;
  return folder;
}

// The library as clang has parsed it, which takes longer than a kernel. Empty where it cannot be
// made: then it is parsed every time.
fs::path precompiled_headers(bool instrumented) {
  const fs::path headers = headers_folder();
  const fs::path file =
      headers.parent_path() / ("msl-" + toolchain_fingerprint(instrumented) + ".pch");
  if (fs::exists(file)) return file;
  const ScratchFolder scratch(headers.parent_path());
  const fs::path made = scratch.path() / "metal.pch";
  Arguments arguments = {compiler(), "clang"};
  append(arguments, language());
  append(arguments, code_generation(instrumented));
  append(arguments,
         {"-c", "-Xclang", "-emit-pch", "-Xclang", "-fpch-instantiate-templates", "-Xclang",
          "-fno-pch-timestamp", (headers / "metal.h").string(), "-o", made.string()});
  if (!run(arguments).success) return {};
  install(made, file);
  return file;
}

// ---- Errors ------------------------------------------------------------------------------
void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t i = 0; (i = text.find(from, i)) != std::string::npos; i += to.size())
    text.replace(i, from.size(), to);
}

}  // namespace

std::string in_metal_terms(std::string message) {
  // clang-format off
  static const std::pair<const char*, const char*> words[] = {
      {"__constant const ", "constant "}, {"const __constant ", "constant "},
      {"__constant", "constant"},
      {"*__private", "*"}, {"&__private", "&"}, {"__private", "thread"},
      {"__global", "device"},
      {"__local", "threadgroup"},
      {"__generic ", ""}, {"__generic", "thread"},
      {"__bf16", "bfloat"},
      {"metal::", ""}};
  // clang-format on
  if (message.find("requires cl_khr_fp64") != std::string::npos) return "Metal has no type double";
  if (message.starts_with("static assertion failed")) {
    // The library's assertions say what is wrong in words.
    const std::size_t words_begin = message.rfind("': ");
    if (words_begin != std::string::npos) message = message.substr(words_begin + 3);
  }
  for (const auto& [from, to] : words) replace_all(message, from, to);
  return message;
}

namespace {

struct Message {
  SourceLocation location;
  std::string kind, text;  // "error", "note"
};

// "file:line:column: kind: text"
bool parse(std::string_view line, Message& message) {
  for (const std::string_view kind : {"fatal error", "error", "note"}) {
    const std::string mark = ": " + std::string(kind) + ": ";
    const std::size_t at = line.find(mark);
    if (at == line.npos) continue;
    const std::string place(line.substr(0, at));
    const std::size_t column = place.rfind(':');
    const std::size_t row = column == place.npos ? column : place.rfind(':', column - 1);
    if (row == place.npos) return false;
    message = {{place.substr(0, row), std::atoi(place.c_str() + row + 1),
                std::atoi(place.c_str() + column + 1)},
               std::string(kind),
               std::string(line.substr(at + mark.size()))};
    return message.location.line > 0;
  }
  return false;
}

constexpr std::size_t kMaxErrors = 20;

// The errors, the first of each line of the source: one inside the library is at the line that uses
// it, and one about overloads says what is wrong with the first.
[[noreturn]] void fail(const std::string& output, const Translation& translation,
                       const std::string& label) {
  const std::string library = headers_folder().string();
  std::vector<std::string> errors;
  std::string in_library;  // an error whose place is still to come
  SourceLocation last;
  bool overloads = false;
  const auto add = [&](const SourceLocation& where, const std::string& text) {
    if (where.file == last.file && where.line == last.line) return false;
    if (errors.size() == kMaxErrors) return false;
    last = where;
    errors.push_back(to_string(translation.original(where)) + ": error: " + in_metal_terms(text));
    return true;
  };
  for (std::size_t at = 0; at < output.size();) {
    const std::size_t end = std::min(output.find('\n', at), output.size());
    Message m;
    const bool parsed = parse(std::string_view(output).substr(at, end - at), m);
    at = end + 1;
    if (!parsed) continue;
    const bool ours = m.location.file.starts_with(library);
    if (m.kind != "note") {
      in_library = ours ? m.text : "";
      overloads = !ours && add(m.location, m.text) && m.text.starts_with("no matching");
    } else if (!ours && !in_library.empty()) {
      add(m.location, std::exchange(in_library, ""));
    } else if (overloads) {
      errors.back() += ": " + in_metal_terms(m.text);
      overloads = false;
    }
  }
  if (errors.empty()) add({label, 1, 1}, in_library.empty() ? output : in_library);
  std::string message;
  for (const std::string& e : errors) message += (message.empty() ? "" : "\n") + e;
  throw CompileError(message);
}

// Where a scalar meets a vector of elements of lesser rank: half4 * float.
std::vector<SourceLocation> scalars_of_greater_rank(const std::string& output) {
  std::vector<SourceLocation> places;
  for (std::size_t at = 0; at < output.size();) {
    const std::size_t end = std::min(output.find('\n', at), output.size());
    Message m;
    if (parse(std::string_view(output).substr(at, end - at), m) &&
        m.text.starts_with("scalar operand type has greater rank"))
      places.push_back(m.location);
    at = end + 1;
  }
  return places;
}

// A damaged or outdated file of precompiled headers is the cache's fault, not the source's.
bool blames_precompiled_headers(const std::string& output) {
  return output.find("PCH file") != std::string::npos ||
         output.find("AST file") != std::string::npos ||
         output.find("precompiled") != std::string::npos ||
         output.find("module file") != std::string::npos;
}

}  // namespace

bool compiler_available() {
  const std::string path = find_compiler();
  return !path.empty() && is_executable(path);
}

void set_compiler(const std::string& path) {
  std::scoped_lock lock(choice().mutex);
  choice().path = path;
}

std::vector<std::string> front_end_arguments() {
  Arguments arguments = language();
  append(arguments, {"-include", (headers_folder() / "metal.h").string()});
  return arguments;
}

std::string preprocess(const std::string& source, const std::string& label,
                       const Preprocessing& with) {
  if (!needs_preprocessor(source) && with.macros.empty()) return source;
  const fs::path headers = headers_folder();
  const ScratchFolder scratch(headers.parent_path());
  const fs::path in = scratch.path() / "in.metal", out = scratch.path() / "out.metal";
  write_file(in, "#line 1 \"" + label + "\"\n" + source);
  const fs::path folder = fs::path(label).parent_path();
  Arguments arguments = {compiler(), "clang",
                         "-E",       "-x",
                         "c++",      "-std=c++17",
                         "-undef",   "-nostdinc",
                         "-w",       "-fno-caret-diagnostics",
                         "-include", (headers / "macros.h").string(),
                         "-iquote",  folder.empty() ? "." : folder.string()};
  for (const std::string& name : with.include) append(arguments, {"-I", name});
  for (const auto& [name, value] : with.macros) arguments.push_back("-D" + name + "=" + value);
  append(arguments, {"-isystem", (headers / "include").string(), in.string(), "-o", out.string()});
  const Outcome outcome = run(arguments);
  if (!outcome.success) fail(outcome.messages, {}, label);
  return read_file(out);
}

std::string toolchain_fingerprint(bool instrumented) {
  const std::string path = compiler();
  // Of 128 bits in some libraries, which have no to_string for it.
  const auto time = static_cast<std::int64_t>(fs::last_write_time(path).time_since_epoch().count());
  return fingerprint({path, std::to_string(time), std::to_string(fs::file_size(path)),
                      joined(language()), joined(code_generation(instrumented)),
                      headers_fingerprint()});
}

void build(Translation translation, std::string (*complete)(const Translation&),
           const std::string& label, bool instrumented, const fs::path& scratch,
           const fs::path& library) {
  const fs::path source = scratch / "kernels.cl", object = scratch / "kernels.o";
  Arguments arguments = {compiler(), "clang"};
  append(arguments, language());
  append(arguments, code_generation(instrumented));
  const fs::path precompiled = precompiled_headers(instrumented);
  const auto compile_with = [&](const char* option, const fs::path& header) {
    Arguments all = arguments;
    append(all, {option, header.string(), "-c", source.string(), "-o", object.string()});
    return run(all);
  };
  const auto compile = [&] {
    write_file(source, complete(translation));
    Outcome outcome = precompiled.empty() ? compile_with("-include", headers_folder() / "metal.h")
                                          : compile_with("-include-pch", precompiled);
    if (!outcome.success && blames_precompiled_headers(outcome.messages)) {
      fs::remove(precompiled);
      outcome = compile_with("-include", headers_folder() / "metal.h");
    }
    return outcome;
  };
  Outcome outcome = compile();
  if (!outcome.success && !scalars_of_greater_rank(outcome.messages).empty())
    arguments.push_back("-ferror-limit=0");  // all such places at once
  // Templates show what is in them one after the other.
  for (int i = 0; i < 8 && !outcome.success; ++i) {
    if (!narrow_scalars(translation, scalars_of_greater_rank(outcome.messages))) break;
    outcome = compile();
  }
  if (!outcome.success) fail(outcome.messages, translation, label);
  outcome = run({compiler(), "ld.lld", "-shared", object.string(), "-o", library.string()});
  if (!outcome.success) fail(outcome.messages, translation, label);
}

}  // namespace cermet::metal::simulator
