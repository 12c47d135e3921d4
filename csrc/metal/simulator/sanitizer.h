// The sanitizer: judges every memory access of a dispatch.
//
// A race is decided from barriers alone, not from the order in which the threads happened to run:
// two accesses are ordered when they are of one thread, when a barrier that names their memory
// stands between them, or when one belongs to an earlier dispatch that is not concurrent. For that,
// a clock advances at every barrier and each byte keeps stamps of its last write and of its readers
// since.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "metal/simulator/engine.h"

namespace cermet::metal::simulator {

// Who touched a byte: which threads of a threadgroup, and when.
struct Stamp {
  // The threads that it stands for, `thread` being the last of them.
  enum Extent : std::uint8_t { thread_only, one_simdgroup, one_threadgroup, several_threadgroups };
  std::uint64_t clock : 48, thread : 10, extent : 2;
  std::uint64_t writes : 1, atomic : 1;  // some of the accesses write; all of them are atomic
  std::uint64_t undefined : 1;           // of a last write: there was none
};

// The state of a byte of memory. Sites are offsets into the library of the stamp's dispatch.
struct Cell {
  Stamp write{}, shared{};  // shared: the readers, or the atomic operations, since the last write
  std::uint32_t write_site = 0, shared_site = 0;
};

// Cells by address, in pages that are made when they are first touched.
class Shadow {
 public:
  Cell& operator[](std::uintptr_t address);
  void set_undefined(std::uintptr_t address, std::size_t bytes, bool undefined);
  void clear() { pages_.clear(), last_ = nullptr; }
  // Says that all stamps are stale. Cells take 24 times the memory that they describe, so pages
  // without undefined bytes go when there are many.
  void age();

 private:
  static constexpr std::size_t kPageBytes = 4096;
  static constexpr std::size_t kFewPages = 2048;
  struct Page {
    bool undefined = false;  // all of it, while there are no cells
    std::unique_ptr<Cell[]> cells;
  };
  std::unordered_map<std::uintptr_t, Page> pages_;
  std::size_t many_ = kFewPages;
  std::uintptr_t last_index_ = 0;
  Cell* last_ = nullptr;
};

// `internal` memory is the engine's own, which only compiled-in helpers touch.
enum class Space : std::uint8_t { device, threadgroup, constant, internal };

struct Region {
  std::uintptr_t begin = 0;
  std::size_t bytes = 0;
  Space space = Space::device;
  bool writable = true;
  std::string name;  // "buffer 3"

  bool contains(std::uintptr_t address, std::size_t size) const {
    return address - begin < bytes && size <= bytes - (address - begin);
  }
};

struct MemoryAccess {
  std::uintptr_t address;
  std::size_t size;
  bool reads, writes;
  bool atomic = false;
  bool aligned = true;  // must the address be a multiple of the size?
  const void* site;
};

class Sanitizer {
 public:
  // `concurrent`: it may overlap the dispatches before.
  void begin_dispatch(const Dispatch& dispatch, const Options& options, Counters& counters);
  void begin_threadgroup(Size position, Size size);
  void add_region(Region region) { regions_.push_back(std::move(region)); }

  // An access by a thread of the threadgroup. False: it must not happen.
  bool access(const MemoryAccess& access, unsigned thread);
  // The bits of `flags` are those of mem_flags.
  void threadgroup_barrier(unsigned flags);
  void simdgroup_barrier(unsigned simdgroup, unsigned flags);
  // A barrier that some threads do not reach, or reach elsewhere (`other_site`).
  void divergent(const char* barrier, unsigned reached, unsigned expected, const void* site,
                 const void* other_site, unsigned thread);
  // A thread was stopped, so that what it would have written is missing.
  void abandoned() { abandoned_ = true; }

  // Throws SanitizerError with what was found since begin_dispatch.
  void raise() const;

  void set_undefined(const void* data, std::size_t bytes, bool undefined) {
    shadow_.set_undefined(reinterpret_cast<std::uintptr_t>(data), bytes, undefined);
  }
  void forget() { shadow_.clear(); }

 private:
  enum class Kind : std::uint8_t { bounds, alignment, read_only, uninitialised, race, divergence };
  struct Finding {
    std::string text;  // up to the place
    const void* site;
    std::string and_text;  // of the other thread, up to its place
    SourceLocation other;
  };
  // A dispatch that accesses of now may be concurrent with.
  struct Record {
    std::shared_ptr<CompiledLibrary> library;
    std::string kernel;
    struct Group {
      std::uint64_t clock;
      Size position, size;
    };
    std::vector<Group> groups;
  };

  const Region* find(std::uintptr_t address, std::size_t bytes, bool write);
  void report_bounds(const MemoryAccess& access, unsigned thread);
  void touch(Cell& cell, const MemoryAccess& access, unsigned thread, const Region& region,
             std::uintptr_t address);
  bool stale(Stamp stamp, Space space) const;
  bool concurrent(Stamp other, unsigned thread, Space space) const;
  Stamp merged(Stamp other, Stamp mine, Space space) const;
  void count(const MemoryAccess& access, const Region& region);

  void report(Kind kind, const void* site, std::string text, std::string and_text = {},
              SourceLocation other = {});
  void report_race(const MemoryAccess& access, unsigned thread, const Region& region,
                   std::uintptr_t address, Stamp other, std::uint32_t other_site);
  std::string who(const Record& record, const Record::Group& group, unsigned thread) const;
  std::string who(unsigned thread) const;

  Options options_;
  Counters* counters_ = nullptr;
  Shadow shadow_;
  std::vector<Region> regions_;
  std::size_t last_region_ = 0;
  std::vector<Finding> findings_;
  std::set<std::pair<Kind, const void*>> found_;
  std::vector<Record> records_;  // the last one is running
  bool abandoned_ = false;

  // Times: the clock now, and when the last of each order began. Barriers: [device, threadgroup].
  std::uint64_t clock_ = 1, ordered_ = 1, group_ = 1;
  std::array<std::uint64_t, 2> barrier_{};
  std::array<std::array<std::uint64_t, 2>, kMaxThreads / kSimdWidth> simd_barrier_{};
};

}  // namespace cermet::metal::simulator
