// The npz format: a zip archive of npy files, stored or deflated.
#include <algorithm>
#include <cstring>
#include <set>
#include <string_view>

#include "cermet/ops.h"
#include "io/stored.h"

namespace cermet {
namespace {

using io::fail;

constexpr std::uint64_t kWide = 0xffffffff;  // in 32 bits: the number is in an extra field
constexpr std::uint32_t kLocal = 0x04034b50, kCentral = 0x02014b50, kEnd = 0x06054b50,
                        kWideEnd = 0x06064b50, kWideLocator = 0x07064b50;
constexpr std::uint64_t kStored = 0, kDeflated = 8;
constexpr std::uint64_t kEndBytes = 22, kLocatorBytes = 20, kWideEndBytes = 56, kCentralBytes = 46,
                        kLocalBytes = 30;

struct Member {
  std::string name;
  std::uint64_t method = kStored, crc = 0, packed = 0, size = 0, at = 0;  // of its local header
};

// A name that would be a file's elsewhere, or another one here.
bool leads_out(std::string_view name) {
  const auto has = [&](std::string_view part) { return name.find(part) != name.npos; };
  return name.empty() || name.front() == '/' || has({"\0", 1}) || has("\\") || name == ".." ||
         name.starts_with("../") || name.ends_with("/..") || has("/../");
}

// ---- Reading ----

// Little-endian numbers of some bytes.
struct Bytes {
  std::string text;
  std::uint64_t number(std::size_t at, std::size_t count) const {
    std::uint64_t v = 0;
    for (std::size_t i = count; i-- > 0;) v = v << 8 | static_cast<unsigned char>(text[at + i]);
    return v;
  }
};

class Archive {
 public:
  explicit Archive(const Ref<const Source>& source) : source_(source) {}

  std::vector<Member> members() const {
    const auto [at, size, count] = find_directory();
    if (size > source_->size || at > source_->size - size || count > size / kCentralBytes)
      bad("its directory lies outside the file");
    const Bytes directory = read(at, size);
    std::vector<Member> members;
    std::set<std::string> names;
    std::uint64_t packed = 0;
    for (std::uint64_t place = 0, i = 0; i < count; ++i) {
      members.push_back(entry(directory, place));
      const Member& m = members.back();
      if (leads_out(m.name)) bad("a member's name leads out of the archive: '" + m.name + "'");
      if (!names.insert(m.name).second) bad("two members are called '" + m.name + "'");
      // Members share no bytes, and no byte becomes more than deflate can make of it.
      if (m.packed > source_->size || (packed += m.packed) > source_->size ||
          m.size / kMostInflated > m.packed)
        bad("member '" + m.name + "' is to have " + std::to_string(m.size) + " bytes, from " +
            std::to_string(m.packed));
    }
    return members;
  }

  // Where a member's bytes begin.
  std::uint64_t begin_of(const Member& m) const {
    if (m.at > source_->size - kLocalBytes) bad("member '" + m.name + "' lies outside the file");
    const Bytes local = read(m.at, kLocalBytes);
    const std::uint64_t begin = m.at + kLocalBytes + local.number(26, 2) + local.number(28, 2);
    if (local.number(0, 4) != kLocal || begin > source_->size || m.packed > source_->size - begin)
      bad("member '" + m.name + "' lies outside the file");
    return begin;
  }

  Bytes read(std::uint64_t begin, std::uint64_t size) const {
    Bytes out{std::string(size, '\0')};
    source_->read(begin, std::as_writable_bytes(std::span(out.text)), "");
    return out;
  }
  [[noreturn]] void bad(const std::string& what) const {
    fail("load", source_->name, "not a whole npz file: " + what);
  }

 private:
  static constexpr std::uint64_t kMostInflated = 1032;

  struct Directory {
    std::uint64_t at, size, count;
  };
  // By the record that ends the file, with a comment of up to 64 KB.
  Directory find_directory() const {
    const std::uint64_t size = std::min(source_->size, kEndBytes + 0xffff);
    const std::uint64_t start = source_->size - size;
    const Bytes end = read(start, size);
    for (std::uint64_t i = size < kEndBytes ? 0 : size - kEndBytes + 1; i-- > 0;) {
      if (end.number(i, 4) != kEnd || i + kEndBytes + end.number(i + 20, 2) != size) continue;
      if (end.number(i + 16, 4) == kWide || end.number(i + 12, 4) == kWide ||
          end.number(i + 10, 2) == 0xffff)
        return find_wide(start + i);
      return {end.number(i + 16, 4), end.number(i + 12, 4), end.number(i + 10, 2)};
    }
    bad("it has no directory");
  }
  Directory find_wide(std::uint64_t before) const {
    if (before < kLocatorBytes) bad("it has no directory");
    const Bytes locator = read(before - kLocatorBytes, kLocatorBytes);
    const std::uint64_t at = locator.number(8, 8);
    if (locator.number(0, 4) != kWideLocator || before < kWideEndBytes ||
        at > before - kWideEndBytes)
      bad("it has no directory");
    const Bytes end = read(at, kWideEndBytes);
    if (end.number(0, 4) != kWideEnd) bad("it has no directory");
    return {end.number(48, 8), end.number(40, 8), end.number(32, 8)};
  }

  // The entry at a place, which goes on to the next.
  Member entry(const Bytes& directory, std::uint64_t& place) const {
    const std::uint64_t left = directory.text.size() - place;
    if (left < kCentralBytes || directory.number(place, 4) != kCentral)
      bad("its directory is cut short");
    const auto field = [&](std::size_t at, std::size_t count) {
      return directory.number(place + at, count);
    };
    const std::uint64_t name = field(28, 2), extra = field(30, 2), comment = field(32, 2);
    if (left - kCentralBytes < name + extra + comment) bad("its directory is cut short");
    Member m{directory.text.substr(place + kCentralBytes, name),
             field(10, 2),
             field(16, 4),
             field(20, 4),
             field(24, 4),
             field(42, 4)};
    constexpr std::uint64_t kEncrypted = 1;
    if (field(8, 2) & kEncrypted) bad("member '" + m.name + "' is encrypted");
    if (m.method != kStored && m.method != kDeflated)
      bad("member '" + m.name + "' is compressed by method " + std::to_string(m.method) +
          ", expected deflate or none");
    read_extra(directory, place + kCentralBytes + name, extra, m);
    if (m.method == kStored && m.packed != m.size) bad("member '" + m.name + "' has two sizes");
    place += kCentralBytes + name + extra + comment;
    return m;
  }
  // Numbers of 64 bits stand in a field of their own.
  void read_extra(const Bytes& directory, std::uint64_t at, std::uint64_t size, Member& m) const {
    for (const std::uint64_t end = at + size; end - at >= 4;) {
      const std::uint64_t id = directory.number(at, 2), length = directory.number(at + 2, 2);
      at += 4;
      if (length > end - at) bad("its directory is malformed");
      std::uint64_t from = at;
      if (id == 1)
        for (std::uint64_t* number : {&m.size, &m.packed, &m.at})
          if (*number == kWide) {
            if (at + length - from < 8) bad("its directory is malformed");
            *number = directory.number(from, 8);
            from += 8;
          }
      at += length;
    }
  }

  const Ref<const Source>& source_;
};

// ---- Writing ----

struct Writer {
  std::string text;
  Writer& number(std::uint64_t v, int bytes) {
    for (int i = 0; i < bytes; ++i) text += static_cast<char>(v >> (8 * i));
    return *this;
  }
};

constexpr std::uint64_t kVersion = 45;    // of the format, with 64-bit numbers
constexpr std::uint64_t kUtf8 = 1 << 11;  // flag
constexpr std::uint64_t kFirstDay =
    1 << 5 | 1;  // the first that there is, for the same bytes always

std::string local_header(const Member& m) {
  Writer w;
  w.number(kLocal, 4).number(kVersion, 2).number(kUtf8, 2).number(m.method, 2).number(0, 2);
  w.number(kFirstDay, 2).number(m.crc, 4).number(kWide, 4).number(kWide, 4);
  w.number(m.name.size(), 2).number(20, 2).text += m.name;
  return w.number(1, 2).number(16, 2).number(m.size, 8).number(m.packed, 8).text;
}

std::string central_entry(const Member& m) {
  Writer w;
  w.number(kCentral, 4).number(kVersion, 2).number(kVersion, 2).number(kUtf8, 2);
  w.number(m.method, 2).number(0, 2).number(kFirstDay, 2).number(m.crc, 4);
  w.number(kWide, 4).number(kWide, 4).number(m.name.size(), 2).number(28, 2).number(0, 2);
  w.number(0, 2).number(0, 2).number(0600ull << 16, 4).number(kWide, 4).text += m.name;
  return w.number(1, 2).number(24, 2).number(m.size, 8).number(m.packed, 8).number(m.at, 8).text;
}

std::string end_records(std::uint64_t at, std::uint64_t size, std::uint64_t count) {
  Writer w;
  w.number(kWideEnd, 4).number(kWideEndBytes - 12, 8).number(kVersion, 2).number(kVersion, 2);
  w.number(0, 4).number(0, 4).number(count, 8).number(count, 8).number(size, 8).number(at, 8);
  w.number(kWideLocator, 4).number(0, 4).number(at + size, 8).number(1, 4);
  w.number(kEnd, 4).number(0, 2).number(0, 2).number(0xffff, 2).number(0xffff, 2);
  return w.number(kWide, 4).number(kWide, 4).number(0, 2).text;
}

}  // namespace

NamedArrays load_npz(const Ref<const Source>& source, const Inflate& inflate, StreamOrDevice s) {
  const Archive archive(source);
  NamedArrays out;
  for (const Member& m : archive.members()) {
    const std::uint64_t begin = archive.begin_of(m);
    const std::string part = "member '" + m.name + "'";
    const auto crc = static_cast<std::uint32_t>(m.crc);
    std::string key = m.name;
    if (key.ends_with(".npy")) key.resize(key.size() - 4);
    if (m.method == kStored) {
      out.emplace_back(std::move(key), io::load_npy(source, begin, m.size, part, crc, s));
      continue;
    }
    const Bytes packed = archive.read(begin, m.packed);
    std::string whole(m.size, '\0');
    inflate(io::bytes_of(packed.text), std::as_writable_bytes(std::span(whole)));
    const auto unpacked = in_memory(io::bytes_of(whole), source->name);
    out.emplace_back(std::move(key), io::load_npy(unpacked, 0, m.size, part, crc, s));
  }
  return out;
}

void save_npz(const Sink& out, const NamedArrays& arrays, const Deflate& deflate) {
  std::uint64_t at = 0;
  const auto write = [&](std::span<const std::byte> bytes) {
    out(bytes);
    at += bytes.size();
  };
  std::set<std::string> names;
  for (const auto& [name, a] : arrays)
    if (leads_out(name) || !names.insert(name).second)
      throw std::invalid_argument("savez: '" + name +
                                  "' leads out of the archive, or is the name of two arrays");
  std::string directory;
  for (const auto& [name, a] : arrays) {
    const array rows = contiguous(a);
    rows.eval();
    const std::string header = io::npy_header(a);
    const std::span<const std::byte> pieces[] = {io::bytes_of(header), io::bytes_of(rows)};
    const std::string packed = deflate ? deflate(pieces) : "";
    const std::uint64_t size = header.size() + a.nbytes();
    const Member member{name + ".npy",
                        deflate ? kDeflated : kStored,
                        io::crc32(io::crc32(0, pieces[0]), pieces[1]),
                        deflate ? packed.size() : size,
                        size,
                        at};
    if (member.name.size() > 0xffff) throw std::invalid_argument("savez: a name is too long");
    write(io::bytes_of(local_header(member)));
    if (deflate)
      write(io::bytes_of(packed));
    else
      for (const auto& piece : pieces) write(piece);
    directory += central_entry(member);
  }
  const std::uint64_t begin = at;
  write(io::bytes_of(directory));
  write(io::bytes_of(end_records(begin, directory.size(), arrays.size())));
}

}  // namespace cermet
