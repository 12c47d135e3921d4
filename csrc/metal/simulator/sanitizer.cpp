// Regions, shadow memory, the rules of ordering, and the words of the findings.
#include "metal/simulator/sanitizer.h"

#include <algorithm>
#include <cstring>

namespace cermet::metal::simulator {
namespace {

constexpr std::size_t kMaxFindings = 20;

std::string text(Size s) {
  std::string out = "(";
  for (const std::uint32_t n : {s.x, s.y, s.z}) {
    if (out.size() > 1) out += ", ";
    out += std::to_string(n);
  }
  return out += ')';
}

std::string text(const SourceLocation& location) {
  return location.file.empty() ? "an unknown line" : to_string(location);
}

const char* action(bool reads, bool writes, bool atomic) {
  if (atomic) return "atomic operation";
  return writes ? (reads ? "update" : "write") : "read";
}

std::string action(const MemoryAccess& access) {
  return std::string(action(access.reads, access.writes, access.atomic)) + " of " +
         std::to_string(access.size) + (access.size == 1 ? " byte" : " bytes");
}

// "at byte 400 of buffer 0 (400 bytes)"
std::string place(const Region& region, std::uintptr_t address) {
  return " at byte " + std::to_string(static_cast<std::ptrdiff_t>(address - region.begin)) +
         " of " + region.name + " (" + std::to_string(region.bytes) + " bytes)";
}

}  // namespace

// ---- Shadow ------------------------------------------------------------------------------------
Cell& Shadow::operator[](std::uintptr_t address) {
  const auto index = address / kPageBytes;
  if (!last_ || index != last_index_) {
    Page& page = pages_[index];
    if (!page.cells) {
      page.cells = std::make_unique<Cell[]>(kPageBytes);
      for (std::size_t i = 0; i < kPageBytes; ++i) page.cells[i].write.undefined = page.undefined;
    }
    last_index_ = index;
    last_ = page.cells.get();
  }
  return last_[address % kPageBytes];
}

void Shadow::set_undefined(std::uintptr_t address, std::size_t bytes, bool undefined) {
  const auto end = address + bytes;
  while (address < end) {
    const auto stop = std::min(end, (address / kPageBytes + 1) * kPageBytes);
    if (stop - address == kPageBytes) {
      if (undefined)
        pages_[address / kPageBytes] = {true, nullptr};
      else
        pages_.erase(address / kPageBytes);
      last_ = nullptr;
    } else {
      for (auto a = address; a < stop; ++a) {
        Cell& cell = (*this)[a];
        cell = Cell{};
        cell.write.undefined = undefined;
      }
    }
    address = stop;
  }
}

void Shadow::age() {
  if (pages_.size() < many_) return;
  std::erase_if(pages_, [](const auto& entry) {
    const Page& page = entry.second;
    return page.cells && std::none_of(page.cells.get(), page.cells.get() + kPageBytes,
                                      [](const Cell& cell) { return cell.write.undefined; });
  });
  last_ = nullptr;
  many_ = 2 * pages_.size() + kFewPages;
}

// ---- Where things stand ------------------------------------------------------------------------
void Sanitizer::begin_dispatch(const Dispatch& dispatch, const Options& options,
                               Counters& counters) {
  options_ = options;
  counters_ = &counters;
  ++clock_;
  if (!dispatch.concurrent || records_.empty()) {
    ordered_ = clock_;
    records_.clear();
    shadow_.age();
  }
  records_.push_back({dispatch.library, dispatch.kernel->name, {}});
  regions_.clear();
  last_region_ = 0;
  findings_.clear();
  found_.clear();
  abandoned_ = false;
}

void Sanitizer::begin_threadgroup(Size position, Size size) {
  group_ = ++clock_;
  barrier_.fill(clock_);
  for (auto& simdgroup : simd_barrier_) simdgroup.fill(clock_);
  if (options_.sanitize) records_.back().groups.push_back({clock_, position, size});
}

void Sanitizer::threadgroup_barrier(unsigned flags) {
  ++clock_;
  for (int space = 0; space < 2; ++space)
    if (flags >> space & 1) barrier_[space] = clock_;
}

void Sanitizer::simdgroup_barrier(unsigned simdgroup, unsigned flags) {
  ++clock_;
  for (int space = 0; space < 2; ++space)
    if (flags >> space & 1) simd_barrier_[simdgroup][space] = clock_;
}

// ---- Accesses ----------------------------------------------------------------------------------
const Region* Sanitizer::find(std::uintptr_t address, std::size_t bytes, bool write) {
  const auto fits = [&](const Region& r) {
    return r.contains(address, bytes) && (r.writable || !write);
  };
  if (last_region_ < regions_.size() && fits(regions_[last_region_]))
    return &regions_[last_region_];
  const auto region = std::find_if(regions_.begin(), regions_.end(), fits);
  if (region == regions_.end()) return nullptr;
  last_region_ = static_cast<std::size_t>(region - regions_.begin());
  return &*region;
}

bool Sanitizer::access(const MemoryAccess& access, unsigned thread) {
  const Region* region = find(access.address, access.size, access.writes);
  if (region && region->space == Space::internal) return true;
  if (region && options_.count) count(access, *region);
  if (!options_.sanitize) return true;
  if (!region) {
    const CompiledLibrary& library = *records_.back().library;
    if (!access.writes && access.address - library.begin < library.end - library.begin) return true;
    report_bounds(access, thread);
    return false;
  }
  const bool power_of_two = (access.size & (access.size - 1)) == 0;
  if (access.aligned && power_of_two && access.address % access.size != 0)
    report(Kind::alignment, access.site,
           "misaligned " + action(access) + place(*region, access.address) + ": " + who(thread));
  if (region->space != Space::constant)
    for (std::size_t i = 0; i < access.size; ++i)
      touch(shadow_[access.address + i], access, thread, *region, access.address + i);
  return true;
}

void Sanitizer::count(const MemoryAccess& access, const Region& region) {
  Counters& c = *counters_;
  std::uint64_t* const read[] = {&c.device_read, &c.threadgroup_read, &c.constant_read};
  std::uint64_t* const written[] = {&c.device_written, &c.threadgroup_written, nullptr};
  const auto space = static_cast<std::size_t>(region.space);
  if (access.reads) *read[space] += access.size;
  if (access.writes) *written[space] += access.size;
}

void Sanitizer::touch(Cell& cell, const MemoryAccess& access, unsigned thread, const Region& region,
                      std::uintptr_t address) {
  const Space space = region.space;
  const bool undefined =
      space == Space::threadgroup ? stale(cell.write, space) : bool(cell.write.undefined);
  if (undefined && access.reads && !abandoned_) {
    report(Kind::uninitialised, access.site,
           "uninitialised " + action(access) + place(region, access.address) + ": " + who(thread));
    cell.write.undefined = false;
  }

  const auto conflicts = [&](Stamp other) {
    return (access.writes || other.writes) && !(access.atomic && other.atomic) &&
           concurrent(other, thread, space);
  };
  if (conflicts(cell.write))
    report_race(access, thread, region, address, cell.write, cell.write_site);
  else if (conflicts(cell.shared))
    report_race(access, thread, region, address, cell.shared, cell.shared_site);

  Stamp mine{};
  mine.clock = clock_;
  mine.thread = thread;
  mine.writes = access.writes;
  mine.atomic = access.atomic;
  const auto site = static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(access.site) -
                                               records_.back().library->begin);
  if (access.writes && (!access.atomic || undefined)) {
    cell = Cell{mine, {}, site, 0};
  } else {
    cell.shared = cell.shared.atomic == mine.atomic ? merged(cell.shared, mine, space) : mine;
    cell.shared_site = site;
  }
}

// ---- The rules of ordering ---------------------------------------------------------------------
bool Sanitizer::stale(Stamp stamp, Space space) const {
  return stamp.clock < (space == Space::threadgroup ? group_ : ordered_);
}

// Could `other` happen at the same time as an access by the thread now?
bool Sanitizer::concurrent(Stamp other, unsigned thread, Space space) const {
  if (stale(other, space)) return false;
  if (other.extent == Stamp::several_threadgroups || other.clock < group_) return true;
  const auto s = static_cast<std::size_t>(space);
  if (other.clock < barrier_[s]) return false;
  if (other.extent == Stamp::one_threadgroup) return true;
  const unsigned simdgroup = thread / kSimdWidth;
  if (other.thread / kSimdWidth != simdgroup) return true;
  if (other.clock < simd_barrier_[simdgroup][s]) return false;
  return other.extent == Stamp::one_simdgroup || other.thread != thread;
}

// A stamp for both, where `mine` is of now. What is ordered before now may be left out: all that is
// concurrent with it and comes later is concurrent with `mine` too, or was reported.
Stamp Sanitizer::merged(Stamp other, Stamp mine, Space space) const {
  const auto s = static_cast<std::size_t>(space);
  const unsigned simdgroup = mine.thread / kSimdWidth;
  if (stale(other, space)) return mine;
  if (other.extent == Stamp::several_threadgroups || other.clock < group_)
    mine.extent = Stamp::several_threadgroups;
  else if (other.clock < barrier_[s])
    return mine;
  else if (other.extent == Stamp::one_threadgroup || other.thread / kSimdWidth != simdgroup)
    mine.extent = Stamp::one_threadgroup;
  else if (other.clock < simd_barrier_[simdgroup][s])
    return mine;
  else if (other.extent == Stamp::one_simdgroup || other.thread != mine.thread)
    mine.extent = Stamp::one_simdgroup;
  mine.writes |= other.writes;
  return mine;
}

// ---- Findings ----------------------------------------------------------------------------------
void Sanitizer::report(Kind kind, const void* site, std::string text, std::string and_text,
                       SourceLocation other) {
  if (findings_.size() < kMaxFindings && found_.emplace(kind, site).second)
    findings_.push_back({std::move(text), site, std::move(and_text), std::move(other)});
}

void Sanitizer::report_bounds(const MemoryAccess& access, unsigned thread) {
  if (const Region* region = find(access.address, access.size, false)) {
    report(Kind::read_only, access.site,
           action(access) + " to read-only memory" + place(*region, access.address) + ": " +
               who(thread));
    return;
  }
  const auto distance = [&](const Region& r) {
    if (r.space == Space::internal) return SIZE_MAX;
    const auto d = static_cast<std::ptrdiff_t>(access.address - r.begin);
    return d < 0 ? static_cast<std::size_t>(-d)
                 : static_cast<std::size_t>(d) - std::min(r.bytes, static_cast<std::size_t>(d));
  };
  const auto nearest =
      std::min_element(regions_.begin(), regions_.end(),
                       [&](const Region& a, const Region& b) { return distance(a) < distance(b); });
  const bool null = access.address < 4096 || nearest == regions_.end();
  report(Kind::bounds, access.site,
         "out-of-bounds " + action(access) +
             (null ? " through a null pointer" : place(*nearest, access.address)) + ": " +
             who(thread));
}

void Sanitizer::report_race(const MemoryAccess& access, unsigned thread, const Region& region,
                            std::uintptr_t address, Stamp other, std::uint32_t other_site) {
  if (found_.contains({Kind::race, access.site})) return;
  const auto begins_after = [](std::uint64_t clock, const auto& x) { return clock < x.clock; };
  const Record* record = &records_.front();
  for (const Record& r : records_)
    if (!r.groups.empty() && r.groups.front().clock <= other.clock) record = &r;
  const auto group = std::prev(std::upper_bound(record->groups.begin(), record->groups.end(),
                                                std::uint64_t{other.clock}, begins_after));
  const auto* where = reinterpret_cast<const void*>(record->library->begin + other_site);
  report(Kind::race, access.site,
         "data race: " + action(access) + place(region, address) + ": " + who(thread),
         std::string(", and ") + action(!other.writes, other.writes, other.atomic) + " by " +
             who(*record, *group, other.thread),
         record->library->locate(where));
}

void Sanitizer::divergent(const char* barrier, unsigned reached, unsigned expected,
                          const void* site, const void* other_site, unsigned thread) {
  const Record& record = records_.back();
  std::string text = std::string("divergent ") + barrier;
  if (!other_site)
    text +=
        ": " + std::to_string(reached) + " of " + std::to_string(expected) + " threads reach it";
  report(Kind::divergence, site, text + ": " + who(thread),
         other_site ? ", and other threads wait" : "",
         other_site ? record.library->locate(other_site) : SourceLocation{});
}

std::string Sanitizer::who(const Record& record, const Record::Group& group,
                           unsigned thread) const {
  const Size position{thread % group.size.x, thread / group.size.x % group.size.y,
                      thread / group.size.x / group.size.y};
  return "kernel " + record.kernel + ", thread " + text(position) + " of threadgroup " +
         text(group.position);
}

std::string Sanitizer::who(unsigned thread) const {
  return who(records_.back(), records_.back().groups.back(), thread);
}

void Sanitizer::raise() const {
  if (findings_.empty()) return;
  std::string message;
  for (const Finding& finding : findings_) {
    if (!message.empty()) message += '\n';
    message += finding.text + ", at " + text(records_.back().library->locate(finding.site)) +
               finding.and_text;
    if (!finding.and_text.empty()) message += ", at " + text(finding.other);
  }
  throw SanitizerError(message);
}

}  // namespace cermet::metal::simulator
