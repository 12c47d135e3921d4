// Machine code that runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "cpu/machine/generate.h"

namespace cermet::cpu::machine {

// Memory that holds code: written first, executable then, never both.
class ExecutableMemory {
 public:
  // std::bad_alloc where the system refuses; from then on `is_available()` is false.
  explicit ExecutableMemory(std::span<const std::uint8_t> code);
  ~ExecutableMemory();
  ExecutableMemory(const ExecutableMemory&) = delete;
  ExecutableMemory& operator=(const ExecutableMemory&) = delete;

  const void* get() const { return memory_; }
  // Whether there can be more: the system has not refused, and what there is is not too much.
  static bool is_available();

 private:
  void* memory_;
  std::size_t size_;
};

// A trace as code.
class Code {
 public:
  // `streaming`: the same with stores that stream, for where all they write is a multiple of 64
  // bytes. `steps`: where code of rows finds the steps of its locations.
  Code(const Trace& trace, const Generated& generated, std::uint32_t steps = 0,
       const Generated* streaming = nullptr);
  // Runs it for n elements: whole turns of its loop where they lie, what is left in buffers.
  // `table` is as it was afterwards.
  void run(std::byte** table, std::int64_t n) const;
  // The same for code of rows, of n elements each; the table's pointers move to behind the last.
  void run_rows(std::byte** table, std::int64_t n, std::int64_t rows) const {
    (may_stream(table, rows) ? streaming_ : function_)(table, n, rows);
  }
  // What it costs an element, in the interpreter's loops.
  std::int64_t cost() const { return cost_; }

 private:
  using Function = void (*)(std::byte** table, std::int64_t n, std::int64_t rows);
  struct Traffic {
    std::uint32_t location;
    std::uint32_t size;  // of an element
    bool is_read, is_written, streams;
  };

  bool may_stream(std::byte** table, std::int64_t rows) const;

  std::vector<Traffic> traffic_;
  int lanes_;  // of a turn of the loop
  std::int64_t cost_;
  std::uint32_t steps_;
  ExecutableMemory memory_;
  Function function_, streaming_ = nullptr;
};

// Whether programs may become code, by the environment variable CERMET_MACHINE_CODE: "0" never, "1"
// (or nothing) when it pays, "always" at once.
enum class Use : std::uint8_t { never, earned, always };
Use use();
// Functions that were made so far, that there are, and the bytes of memory these have.
struct Counts {
  std::uint64_t made, functions, bytes;
};
Counts counts();
// Whether code for the chosen instruction set can store past the caches.
bool streams();
// Code for the chosen instruction set. The trace has a store at least. Null while it is listed.
std::shared_ptr<const Code> compile(const Trace& trace, const std::optional<Rows>& rows = {});
// Whether code of rows takes rows of n elements.
bool takes_rows(std::int64_t n);

}  // namespace cermet::cpu::machine
