// The npy format, versions 1 to 3: a magic number, a header that is a Python dictionary, the
// elements.
#include <algorithm>
#include <array>
#include <cstring>

#include "cermet/ops.h"
#include "io/stored.h"

namespace cermet {
namespace {

constexpr char kMagic[] = "\x93NUMPY";

struct Code {
  const char* text;
  Dtype dtype;
};
// bfloat16 has no code of its own: it is stored as two opaque bytes, as ml_dtypes does.
constexpr Code kCodes[] = {{"|b1", bool_},   {"|u1", uint8},    {"<u2", uint16},   {"<u4", uint32},
                           {"<u8", uint64},  {"|i1", int8},     {"<i2", int16},    {"<i4", int32},
                           {"<i8", int64},   {"<f2", float16},  {"<V2", bfloat16}, {"<f4", float32},
                           {"<f8", float64}, {"<c8", complex64}};

struct Header {
  Dtype dtype = float32;
  bool swapped = false;  // big-endian
  bool fortran = false;
  Shape shape;
};

// The text after a key and its colon.
std::size_t value_of(const std::string& header, const std::string& key) {
  const std::size_t at = header.find("'" + key + "'");
  if (at == std::string::npos) return at;
  const std::size_t colon = header.find(':', at);
  return colon == std::string::npos ? colon : header.find_first_not_of(" ", colon + 1);
}

Header parse(const std::string& text, const std::string& file) {
  Header h;
  const std::size_t descr = value_of(text, "descr"), order = value_of(text, "fortran_order"),
                    shape = value_of(text, "shape");
  if (descr >= text.size() || order >= text.size() || shape >= text.size() || text[shape] != '(')
    io::fail("load", file, "the npy header is malformed: " + text.substr(0, 80));
  if (text[descr] == '[') io::fail("load", file, "structured elements are not supported");
  const std::size_t close = text.find(text[descr], descr + 1);
  std::string code = text.substr(descr + 1, close == std::string::npos ? 0 : close - descr - 1);
  if (code == "|V2") code = "<V2";
  if (!code.empty() && code[0] == '>') {
    h.swapped = true;
    code[0] = '<';
  }
  bool known = false;
  for (const Code& c : kCodes)
    if (code == c.text) {
      h.dtype = c.dtype;
      known = true;
    }
  if (!known) io::fail("load", file, "elements of type '" + code + "' are not supported");
  h.fortran = text.compare(order, 4, "True") == 0;
  std::size_t i = shape + 1;
  for (;;) {
    i = text.find_first_not_of(" ,", i);
    if (i == std::string::npos) io::fail("load", file, "the npy header's shape is malformed");
    if (text[i] == ')') break;
    std::int64_t extent = 0;
    const std::size_t first = i;
    for (; i < text.size() && text[i] >= '0' && text[i] <= '9'; ++i)
      if (__builtin_mul_overflow(extent, std::int64_t{10}, &extent) ||
          __builtin_add_overflow(extent, std::int64_t{text[i] - '0'}, &extent))
        io::fail("load", file, "the npy header's shape is too large");
    if (i == first) io::fail("load", file, "the npy header's shape is malformed");
    h.shape.push_back(extent);
  }
  return h;
}

}  // namespace

array io::load_npy(const Ref<const Source>& source, std::uint64_t begin, std::uint64_t size,
                   const std::string& part, std::optional<std::uint32_t> crc, StreamOrDevice s) {
  const std::string file = source->name + (part.empty() ? "" : ": " + part);
  std::array<unsigned char, 12> fixed{};
  source->read(begin,
               std::as_writable_bytes(std::span(fixed).first(std::min<std::size_t>(12, size))),
               part.c_str());
  if (size < 10 || std::memcmp(fixed.data(), kMagic, 6) != 0) fail("load", file, "not an npy file");
  const bool wide = fixed[6] >= 2;
  const std::size_t start = wide ? 12 : 10;
  std::size_t length = fixed[8] | fixed[9] << 8;
  if (wide) length |= std::size_t{fixed[10]} << 16 | std::size_t{fixed[11]} << 24;
  if (size < start || length > size - start) fail("load", file, "the npy header is cut short");
  std::string head(start + length, '\0');
  source->read(begin, std::as_writable_bytes(std::span(head)), part.c_str());
  const Header h = parse(head.substr(start), file);
  const std::uint64_t have = size - head.size();
  std::uint64_t need = 0;
  try {
    need = static_cast<std::uint64_t>(element_count(h.shape)) * size_of(h.dtype);
  } catch (const std::exception& e) {
    fail("load", file, e.what());
  }
  if (need > have || (crc && need != have))
    fail("load", file,
         "shape " + to_string(h.shape) + " of " + std::string(name_of(h.dtype)) + " needs " +
             std::to_string(need) + " bytes, " + std::to_string(have) + " are there");
  Shape shape = h.shape;
  if (h.fortran) std::reverse(shape.begin(), shape.end());
  const array a = stored_array(source,
                               {.begin = begin + head.size(),
                                .dtype = h.dtype,
                                .shape = std::move(shape),
                                .swapped = h.swapped && size_of(h.dtype) > 1,
                                .crc = crc,
                                .crc_before = crc ? crc32(0, bytes_of(head)) : 0,
                                .part = part},
                               s);
  return h.fortran ? transpose(a, s) : a;
}

std::string io::npy_header(const array& a) {
  std::string text = "{'descr': '" + std::string(kCodes[static_cast<int>(a.dtype())].text) +
                     "', 'fortran_order': False, 'shape': " + to_string(a.shape()) + ", }";
  // The elements begin at a multiple of 64 bytes.
  const std::size_t start = text.size() + 1 > 65535 ? 12 : 10;
  text.append(63 - (start + text.size()) % 64, ' ');
  text += '\n';
  const std::size_t n = text.size();
  const char length[] = {static_cast<char>(start == 12 ? 2 : 1),
                         0,
                         static_cast<char>(n),
                         static_cast<char>(n >> 8),
                         static_cast<char>(n >> 16),
                         static_cast<char>(n >> 24)};
  return kMagic + std::string(length, start - 6) + text;
}

void save(const Sink& out, const array& a) {
  const array rows = contiguous(a);
  const std::string header = io::npy_header(a);
  rows.eval();
  out(io::bytes_of(header));
  out(io::bytes_of(rows));
}
void save(const std::string& path, const array& a) {
  a.eval();
  replace_file("save", path, [&](const Sink& out) { save(out, a); });
}

array load(const Ref<const Source>& source, StreamOrDevice s) {
  return io::load_npy(source, 0, source->size, "", {}, s);
}
array load(const std::string& path, StreamOrDevice s) { return load(open_file("load", path), s); }

}  // namespace cermet
