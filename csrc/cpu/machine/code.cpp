// Executable memory, and calls of what is there.
#include "cpu/machine/code.h"

#include <sys/mman.h>
#include <unistd.h>
#ifdef __APPLE__
#include <libkern/OSCacheControl.h>
#include <pthread.h>
#endif

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

#include "cermet/small_vector.h"
#include "cpu/isa.h"
#include "cpu/machine/assembler.h"
#include "cpu/machine/generate.h"
#include "cpu/machine/print.h"

namespace cermet::cpu::machine {
namespace {

std::atomic<bool> g_refused{false};
std::atomic<std::uint64_t> g_made{0}, g_functions{0}, g_bytes{0};

constexpr std::uint64_t kMostBytes = 64 << 20;  // Linux maps few pieces of memory

constexpr std::size_t kLine = 64;  // bytes of a cache's line, and what code is aligned to

constexpr std::int64_t kStepsOfLoop = 8;  // that take as long as one of the interpreter's loops

// Of a system that forbids such memory nothing more is asked; when it has none, later again.
[[noreturn]] void refuse() {
  if (errno != ENOMEM && errno != EAGAIN) g_refused = true;
  throw std::bad_alloc();
}

std::size_t whole_lines(std::size_t bytes) { return (bytes + kLine - 1) / kLine * kLine; }

std::vector<std::uint8_t> one_after_the_other(const Generated& first, const Generated* second) {
  std::vector<std::uint8_t> code = first.code;
  if (!second) return code;
  code.resize(whole_lines(code.size()));
  code.insert(code.end(), second->code.begin(), second->code.end());
  return code;
}

// perf and gdb find names of code in this file (Linux, tools/perf/Documentation/jit-interface.txt).
void note_for_perf(const void* at, std::size_t size) {
  static const bool wanted = std::getenv("CERMET_PERF_MAP") != nullptr;
  if (!wanted) return;
  const std::string path = "/tmp/perf-" + std::to_string(getpid()) + ".map";
  if (std::FILE* file = std::fopen(path.c_str(), "a")) {
    std::fprintf(file, "%zx %zx cermet_program\n", reinterpret_cast<std::size_t>(at), size);
    std::fclose(file);
  }
}

}  // namespace

ExecutableMemory::ExecutableMemory(std::span<const std::uint8_t> code) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  size_ = (code.size() + page - 1) / page * page;
  int flags = MAP_PRIVATE | MAP_ANONYMOUS;
#ifdef __APPLE__  // never run: one thread writes while others execute (W^X by thread)
  flags |= MAP_JIT;
  memory_ = mmap(nullptr, size_, PROT_READ | PROT_WRITE | PROT_EXEC, flags, -1, 0);
#else
  memory_ = mmap(nullptr, size_, PROT_READ | PROT_WRITE, flags, -1, 0);
#endif
  if (memory_ == MAP_FAILED) refuse();
#ifdef __APPLE__
  pthread_jit_write_protect_np(false);
  std::memcpy(memory_, code.data(), code.size());
  pthread_jit_write_protect_np(true);
  sys_icache_invalidate(memory_, size_);
#else
  std::memcpy(memory_, code.data(), code.size());
  if (mprotect(memory_, size_, PROT_READ | PROT_EXEC) != 0) {
    const int error = errno;
    munmap(memory_, size_);
    errno = error;
    refuse();
  }
  auto* const begin = static_cast<char*>(memory_);
  __builtin___clear_cache(begin, begin + code.size());
#endif
  note_for_perf(memory_, code.size());
  g_made.fetch_add(1, std::memory_order_relaxed);
  g_functions.fetch_add(1, std::memory_order_relaxed);
  g_bytes.fetch_add(size_, std::memory_order_relaxed);
}

ExecutableMemory::~ExecutableMemory() {
  munmap(memory_, size_);
  g_functions.fetch_sub(1, std::memory_order_relaxed);
  g_bytes.fetch_sub(size_, std::memory_order_relaxed);
}

bool ExecutableMemory::is_available() {
  return !g_refused.load(std::memory_order_relaxed) &&
         g_bytes.load(std::memory_order_relaxed) < kMostBytes;
}

Counts counts() {
  return {g_made.load(std::memory_order_relaxed), g_functions.load(std::memory_order_relaxed),
          g_bytes.load(std::memory_order_relaxed)};
}

Code::Code(const Trace& trace, const Generated& generated, std::uint32_t steps,
           const Generated* streaming)
    : lanes_(generated.lanes),
      cost_(static_cast<std::int64_t>(trace.steps().size()) / kStepsOfLoop + 1),
      steps_(steps),
      memory_(one_after_the_other(generated, streaming)) {
  const auto* at = static_cast<const std::uint8_t*>(memory_.get());
  std::memcpy(&function_, &at, sizeof at);
  if (streaming) {
    at += whole_lines(generated.code.size());
    std::memcpy(&streaming_, &at, sizeof at);
  }
  for (const Step& s : trace.steps()) {
    if (s.op != Micro::load && s.op != Micro::store) continue;
    auto it = std::find_if(traffic_.begin(), traffic_.end(),
                           [&](const Traffic& t) { return t.location == s.bits; });
    if (it == traffic_.end())
      it = traffic_.insert(
          it, {s.bits, static_cast<std::uint32_t>(size_of(s.dtype)), false, false, false});
    (s.op == Micro::load ? it->is_read : it->is_written) = true;
    it->streams |= s.streams;
  }
}

bool Code::may_stream(std::byte** table, std::int64_t rows) const {
  const auto is_whole = [](const std::byte* p) {
    return reinterpret_cast<std::uintptr_t>(p) % kLine == 0;
  };
  return streaming_ && std::all_of(traffic_.begin(), traffic_.end(), [&](const Traffic& t) {
           return !t.streams || (is_whole(table[t.location]) &&
                                 (rows == 1 || is_whole(table[steps_ + t.location])));
         });
}

void Code::run(std::byte** table, std::int64_t n) const {
  const std::int64_t whole = n / lanes_ * lanes_, rest = n - whole;
  if (whole) (may_stream(table, 1) ? streaming_ : function_)(table, whole, 1);
  if (!rest) return;
  struct Buffer {
    alignas(64) std::byte bytes[4 * 64];  // of a turn of a loop
  };
  SmallVector<Buffer, 16> buffers;
  SmallVector<std::byte*, 16> places;
  buffers.resize(traffic_.size());
  const auto size = [&](const Traffic& t) { return static_cast<std::size_t>(rest) * t.size; };
  for (std::size_t k = 0; k < traffic_.size(); ++k) {
    const Traffic& t = traffic_[k];
    places.push_back(table[t.location] + whole * t.size);
    if (t.is_read) std::memcpy(buffers[k].bytes, places[k], size(t));
    places[k] = std::exchange(table[t.location], buffers[k].bytes);
  }
  function_(table, lanes_, 1);
  for (std::size_t k = 0; k < traffic_.size(); ++k) {
    const Traffic& t = traffic_[k];
    table[t.location] = places[k];
    if (t.is_written) std::memcpy(places[k] + whole * t.size, buffers[k].bytes, size(t));
  }
}

Use use() {
  static const Use chosen = [] {
    const char* given = std::getenv("CERMET_MACHINE_CODE");
    const std::string_view text = given ? given : "";
    if (text == "0") return Use::never;
    if (!text.empty() && text != "1" && text != "always")
      throw std::invalid_argument("CERMET_MACHINE_CODE=" + std::string(text) +
                                  ": expected 0, 1 or always");
#if defined(__x86_64__) && !defined(CERMET_BASE_ISA)
    if (isa() < Isa::v3) return Use::never;
#elif !defined(__aarch64__)
    return Use::never;
#endif
    return text == "always" ? Use::always : Use::earned;
  }();
  return ExecutableMemory::is_available() ? chosen : Use::never;
}

bool streams() {
#if defined(__x86_64__)
  return true;
#else
  return false;
#endif
}

std::shared_ptr<const Code> compile(const Trace& trace, const std::optional<Rows>& rows) {
  const auto generated = [&](const Trace& t) {
#if defined(__aarch64__)
    const std::unique_ptr<Assembler> assembler = make_arm();
#else
    const std::unique_ptr<Assembler> assembler = make_x86(isa() >= Isa::v4);
#endif
    return generate(t, *assembler, rows);
  };
  if (Listing* const listing = Listing::current()) {
    listing->add(
        trace, use() == Use::never ? std::optional<Generated>() : std::optional(generated(trace)));
    return nullptr;
  }
  const std::uint32_t steps = rows ? rows->steps : 0;
  if (!trace.streams()) return std::make_shared<const Code>(trace, generated(trace), steps);
  Trace plain = trace;
  plain.never_stream();
  const Generated streaming = generated(trace);
  return std::make_shared<const Code>(trace, generated(plain), steps, &streaming);
}

bool takes_rows(std::int64_t n) { return n <= kBlock && (n % kLanes == 0 || isa() >= Isa::v4); }

}  // namespace cermet::cpu::machine
