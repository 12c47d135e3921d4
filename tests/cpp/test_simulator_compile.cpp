// The Metal simulator's front end: translation, errors and their places, the disk cache, the line
// table. What needs the compiler is skipped where there is none (CERMET_ZIG names it).
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "metal/device.h"
#include "metal/simulator/cache.h"
#include "metal/simulator/compile.h"
#include "metal/simulator/lines.h"

using namespace cermet::metal;
using namespace cermet::metal::simulator;

namespace {

namespace fs = std::filesystem;

const std::string kHead = "#include <metal_stdlib>\nusing namespace metal;\n";  // two lines

// A cache folder of the test's own, and the user's again afterwards.
class TemporaryCache {
 public:
  TemporaryCache() : folder_(fs::temp_directory_path()) {
    if (const char* value = std::getenv("CERMET_CACHE")) before_ = value;
    setenv("CERMET_CACHE", folder_.path().c_str(), 1);
  }
  ~TemporaryCache() {
    if (before_)
      setenv("CERMET_CACHE", before_->c_str(), 1);
    else
      unsetenv("CERMET_CACHE");
  }
  std::vector<fs::path> libraries() const {
    std::vector<fs::path> found;
    for (const auto& entry : fs::recursive_directory_iterator(folder_.path())) {
      if (entry.path().extension() == ".so") found.push_back(entry.path());
    }
    return found;
  }

 private:
  ScratchFolder folder_;
  std::optional<std::string> before_;
};

std::string compile_errors(const std::string& source) {
  try {
    compile(source, "test.metal", false);
  } catch (const CompileError& e) {
    return e.what();
  }
  return "";
}

bool starts(const std::string& text, const std::string& with) { return text.rfind(with, 0) == 0; }

// The engine's part for kernels of one thread.
struct Machine {
  std::vector<std::pair<std::string, bool>> accesses;  // file:line:column, whether it writes
  CompiledLibrary* library = nullptr;
  cermet_thread thread{};
  alignas(64) char slots[32 * 64] = {};
  alignas(64) char threadgroup[4096] = {};
};
Machine machine;

void run(CompiledLibrary& library, const std::string& kernel, std::vector<void*> buffers) {
  static cermet_runtime_table table = {
      [](unsigned, const void*) {},
      [](int, const void*) {},
      [](int, const void*) {},
      [](int, unsigned long, unsigned long, const void*) {
        return reinterpret_cast<unsigned long>(machine.threadgroup);
      },
      [](int, const void*) {},
      [](unsigned long, unsigned, int, const void*) {},
      [](unsigned long) {},
      [](unsigned long, unsigned long, int writes, const void* site) {
        const SourceLocation at = machine.library->locate(site);
        machine.accesses.emplace_back(
            at.file + ":" + std::to_string(at.line) + ":" + std::to_string(at.column), writes);
      }};
  machine.library = &library;
  machine.accesses.clear();
  machine.thread.active = 1;
  machine.thread.exchange = machine.thread.published =
      reinterpret_cast<unsigned long>(machine.slots);
  *library.runtime = &table;
  *library.current = &machine.thread;
  const auto info = std::find_if(library.kernels.begin(), library.kernels.end(),
                                 [&](const KernelInfo& k) { return k.name == kernel; });
  REQUIRE(info != library.kernels.end());
  cermet_arguments arguments{};
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    arguments.buffers[i] = reinterpret_cast<unsigned long>(buffers[i]);
  }
  info->entry(&arguments);
}

}  // namespace

TEST_CASE("translation finds kernels, their buffers and function constants") {
  const Translation t = translate(kHead + R"(
constant bool scaled [[function_constant(4)]];
constant int size [[function_constant(2)]];
template <typename T>
[[kernel, max_total_threads_per_threadgroup(256)]] void f(
    device const T* in [[buffer(3)]], device T* out, constant int& n [[buffer(0)]],
    device float* extra [[buffer(7), function_constant(scaled)]],
    uint i [[thread_position_in_grid]]) {}
template [[host_name("f_float")]] [[kernel]] decltype(f<float>) f<float>;
kernel void g(device float4* a) {}
)",
                                  "a.metal", false);
  CHECK(t.diagnostics.empty());
  REQUIRE(t.kernels.size() == 2);
  CHECK(t.kernels[1].name == "g");
  const Translation::Kernel& f = t.kernels[0];
  CHECK(f.name == "f_float");
  CHECK(f.max_threads == 256);
  REQUIRE(f.buffers.size() == 4);
  CHECK(f.buffers[0].slot == 3);
  CHECK_FALSE(f.buffers[0].writable);
  CHECK(f.buffers[1].slot == 4);  // the next one
  CHECK(f.buffers[1].writable);
  CHECK(f.buffers[2].constant);
  CHECK(f.buffers[3].optional);
  REQUIRE(t.constants.size() == 2);
  CHECK(t.constants[0].name == "scaled");
  CHECK(t.constants[0].type == "bool");
  CHECK(t.constants[1].index == 2);
}

TEST_CASE("translation names what Metal rejects, with its place") {
  const auto first = [](const std::string& line) {
    const Translation t = translate(kHead + line, "a.metal", false);
    REQUIRE_FALSE(t.diagnostics.empty());
    const Diagnostic& d = t.diagnostics[0];
    return d.location.file + ":" + std::to_string(d.location.line) + ":" +
           std::to_string(d.location.column) + ": " + d.message;
  };
  CHECK(first("kernel void f(device int* a [[buffer(31)]]) {}") ==
        "a.metal:3:15: f: buffer(31) is not one of the slots 0 to 30");
  CHECK(first("kernel void f(device int* a [[buffer(0)]], device int* b [[buffer(0)]]) {}") ==
        "a.metal:3:44: f: a second buffer(0)");
  CHECK(first("kernel int f(device int* a) { return 1; }") ==
        "a.metal:3:1: a kernel must return void, not int");
  CHECK(first("kernel void f(float i [[thread_position_in_grid]]) {}") ==
        "a.metal:3:15: f: thread_position_in_grid cannot be of type float");
  CHECK(first("kernel void f(uint i [[thread_position_in_gird]]) {}") ==
        "a.metal:3:15: f: unknown attribute thread_position_in_gird");
  CHECK(first("void f() {\n  threadgroup float s[4]; }") ==
        "a.metal:4:3: threadgroup variable outside a kernel: threadgroup float s[4]");
  CHECK(first("bool c [[function_constant(0)]];") ==
        "a.metal:3:6: function constant c is not in the constant address space");
  CHECK(first("kernel void f(device int* a) {}\nkernel void f(device int* b) {}") ==
        "a.metal:4:13: a second kernel of the name f");
  CHECK(first("void f( {") == "a.metal:3:9: '{' is never closed");
  CHECK(first("void f() ]") == "a.metal:3:10: ']' closes no '['");
  CHECK(first("#line 40 \"b.metal\"\n/* open") == "b.metal:40:1: unterminated comment");
}

TEST_CASE("strict translation gives methods the address space thread") {
  const std::string source =
      "struct S { int n; int f() const { return n; } int g() device { return n; } S() : n(0) {} };";
  const std::string strict = translate(source, "a.metal", true).text;
  CHECK(strict.find("f() const thread") != std::string::npos);
  CHECK(strict.find("g() device {") != std::string::npos);
  CHECK(translate(source, "a.metal", false).text.find("f() const {") != std::string::npos);
}

TEST_CASE("damaged sources are translated or rejected, never fatal") {
  const std::string source = kHead + R"(
constant int n [[function_constant(0)]]; constant int m = n + 1; using F = vec<float, 4>;
struct S { float x; S() thread : x(1.0) {} float f(const thread float& y) const thread { return x; }
};
template <typename T>
[[kernel]] void f(device T* a [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  threadgroup T s[8], t; F v = F(a[i], 1, {2, 3}); float4 w{1.0, 2}; float2 u(1, 2); S b = S();
  a[i] = static_cast<T>(v.x) + T(m) + is_function_constant_defined(n) + max({1, 2}, "x\"y", 1.0h);
}
template [[host_name("f")]] [[kernel]] decltype(f<float>) f<float>;
)";
  std::mt19937 random(7);
  const std::string pieces[] = {"(", ")", "{", "}", "[[", "]]", "<", ">", ";", ",", "\"", "&", "*"};
  for (int round = 0; round < 3000; ++round) {
    std::string damaged = source;
    for (int edits = 1 + static_cast<int>(random() % 3); edits > 0; --edits) {
      const std::size_t at = random() % damaged.size();
      switch (random() % 3) {
        case 0: damaged.erase(at, 1 + random() % 20); break;
        case 1: damaged.insert(at, pieces[random() % std::size(pieces)]); break;
        default: damaged.resize(at + 1);
      }
    }
    const Translation t = translate(damaged, "a.metal", round % 2 == 1);
    for (const Diagnostic& d : t.diagnostics) CHECK(d.location.line > 0);
  }
}

TEST_CASE("a line table survives any damage") {
  std::mt19937 random(3);
  std::string bytes(200, '\0');
  for (int round = 0; round < 1000; ++round) {
    for (char& c : bytes) c = static_cast<char>(random());
    CHECK(LineTable(std::as_bytes(std::span(bytes))).find(random()).line == 0);
  }
}

TEST_CASE("compiled kernels compute") {
  if (!compiler_available()) return;
  const auto library = compile(kHead + R"(
constant float factor [[function_constant(0)]];
constant float doubled = is_function_constant_defined(factor) ? factor * 2.0 : 1.0;
struct Pair { float a, b; };
kernel void scale(device float* x [[buffer(0)]], constant Pair& pair [[buffer(1)]]) {
  threadgroup float shared[4];
  Pair p = pair;
  float4 v = float4(x[0], float2(x[1], x[2]), 4.0);
  bool4 small = v < 3.0;
  shared[0] = all(small) ? 0.0 : dot(v, select(v, float4(1.0), small));
  x[0] = shared[0] * doubled + p.b + simd_sum(1.0f) + float(popcount(7u));
  x[1] = float(as_type<half>(ushort(0x3c00))) + float(bfloat(1.0f));
}
)",
                               "test.metal", false);
  REQUIRE(library->constants.size() == 1);
  float x[3] = {1, 2, 3}, pair[2] = {10, 100};
  run(*library, "scale", {x, pair});
  CHECK(x[0] == 1 + 2 + 9 + 16 + 100 + 1 + 3);
  CHECK(x[1] == 2);
  *static_cast<float*>(library->constants[0].value) = 0.5;
  *library->constants[0].defined = true;
  x[0] = 0, x[1] = 0, x[2] = 0;
  run(*library, "scale", {x, pair});
  CHECK(x[0] == 16 + 100 + 1 + 3);
}

TEST_CASE("compile errors are in Metal's terms, at their place") {
  if (!compiler_available()) return;
  CHECK(compile_errors(kHead + "kernel void f(device float* a) {\n  a[0] = float4(1, 2, 3, 4).x +"
                               " missing;\n}\n") ==
        "test.metal:4:33: error: use of undeclared identifier 'missing'");
  const std::string mismatch = compile_errors(kHead +
                                              "float f(threadgroup float* p) { return *p; }\n"
                                              "kernel void k(device float* a) { a[0] = f(a); }\n");
  CHECK(starts(mismatch, "test.metal:4:41: error: no matching function for call to 'f': "));
  CHECK(mismatch.find("'threadgroup'") != std::string::npos);
  CHECK(mismatch.find("__") == std::string::npos);
  // Inside the library: at the line that uses it.
  CHECK(starts(
      compile_errors(kHead + "kernel void k(device long* a) {\n  a[0] = simd_sum(a[0]); }\n"),
      "test.metal:4:"));
  CHECK(compile_errors(kHead + "kernel void k(device float* a) { double x = a[0]; }\n") ==
        "test.metal:3:34: error: Metal has no type double");
  // Through the preprocessor, and where #line says.
  CHECK(compile_errors("#define TYPE double\n" + kHead + "#line 7 \"other.metal\"\nTYPE f();\n") ==
        "other.metal:7:1: error: Metal has no type double");
}

TEST_CASE("the disk cache is used, shared and never trusted") {
  if (!compiler_available()) return;
  const TemporaryCache cache;
  const std::string source = kHead + "kernel void f(device int* a [[buffer(0)]]) { a[0] = 41; }\n";
  const auto check = [&] {
    int value = 0;
    run(*compile(source, "test.metal", false), "f", {&value});
    CHECK(value == 41);
  };
  check();
  const std::vector<fs::path> made = cache.libraries();
  REQUIRE(made.size() == 1);
  const auto time = fs::last_write_time(made[0]);
  check();  // the first library is gone: from the disk
  CHECK(fs::last_write_time(made[0]) == time);
  const auto kept = compile(source, "test.metal", false);
  CHECK(compile(source, "test.metal", false) == kept);
  CHECK(compile(source, "test.metal", true) != kept);
}

TEST_CASE("a damaged cache is made again") {
  if (!compiler_available()) return;
  const TemporaryCache cache;
  const std::string source = kHead + "kernel void f(device int* a [[buffer(0)]]) { a[0] = 42; }\n";
  for (const bool truncate : {true, false}) {
    int value = 0;
    run(*compile(source, "test.metal", false), "f", {&value});
    CHECK(value == 42);
    for (const fs::path& file : cache.libraries()) {
      if (truncate)
        fs::resize_file(file, fs::file_size(file) / 2);
      else
        std::ofstream(file) << "no library";
    }
  }
  int value = 0;
  run(*compile(source, "test.metal", false), "f", {&value});
  CHECK(value == 42);
}

TEST_CASE("a library of another source under the same name is not taken") {
  if (!compiler_available()) return;
  const TemporaryCache cache;
  const auto result = [](const std::string& number) {
    int value = 0;
    run(*compile(kHead + "kernel void f(device int* a) { a[0] = " + number + "; }\n", "test.metal",
                 false),
        "f", {&value});
    return value;
  };
  CHECK(result("1") == 1);
  const fs::path first = cache.libraries()[0], copy = first.parent_path() / "copy";
  fs::rename(first, copy);
  CHECK(result("2") == 2);
  const fs::path second = cache.libraries()[0];
  fs::remove(second);
  fs::rename(copy, second);
  CHECK(result("2") == 2);
}

TEST_CASE("without a folder to write, the cache is the process's own") {
  if (!compiler_available()) return;
  const TemporaryCache cache;
  setenv("CERMET_CACHE", "/dev/null/nowhere", 1);
  int value = 0;
  run(*compile(kHead + "kernel void f(device int* a) { a[0] = 43; }\n", "test.metal", false), "f",
      {&value});
  CHECK(value == 43);
}

TEST_CASE("instrumented accesses are located in the source") {
  if (!compiler_available()) return;
  const auto library = compile(kHead + R"(kernel void f(device float* a [[buffer(0)]]) {
  float4 v = float4(a[1], 0, 0, 0);
  simdgroup_float8x8 m;
  simdgroup_load(m, a + 8);
  a[0] = v.x +
         a[2] + m.thread_elements()[0];
}
)",
                               "dir/test.metal", true);
  std::vector<float> a(128, 1.0f);
  run(*library, "f", {a.data()});
  CHECK(a[0] == 3);
  std::vector<std::pair<std::string, bool>> expected = {{"dir/test.metal:4:21", false},
                                                        {"dir/test.metal:6:3", false},
                                                        {"dir/test.metal:6:3", false},
                                                        {"dir/test.metal:8:10", false},
                                                        {"dir/test.metal:7:8", true}};
  auto found = machine.accesses;
  // An unused element of the matrix need not be read.
  found.erase(std::unique(found.begin(), found.end()), found.end());
  expected.erase(std::unique(expected.begin(), expected.end()), expected.end());
  CHECK(found == expected);
}
