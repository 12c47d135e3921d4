// The npy format, versions 1 to 3: a magic number, a header that is a Python dictionary, the
// elements.
#include <algorithm>
#include <cstring>
#include <fstream>
#include <sstream>

#include "cermet/io.h"
#include "cermet/ops.h"
#include "io/file.h"

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

array from_bytes(const Ref<Buffer>& bytes, const std::string& file) {
  const auto* data = static_cast<const unsigned char*>(bytes->data());
  const std::size_t total = bytes->bytes();
  if (total < 10 || std::memcmp(data, kMagic, 6) != 0) io::fail("load", file, "not an npy file");
  const bool wide = data[6] >= 2;
  std::size_t length = data[8] | data[9] << 8;
  if (wide && total >= 12) length |= std::size_t{data[10]} << 16 | std::size_t{data[11]} << 24;
  const std::size_t start = wide ? 12 : 10;
  if (total < start || length > total - start)
    io::fail("load", file, "the npy header is cut short");
  Header h = parse(std::string(reinterpret_cast<const char*>(data) + start, length), file);
  const std::size_t offset = start + length, have = total - offset;
  std::size_t need = 0;
  try {
    need = static_cast<std::size_t>(element_count(h.shape)) * size_of(h.dtype);
  } catch (const std::exception& e) {
    io::fail("load", file, e.what());
  }
  if (need > have)
    io::fail("load", file,
             "cut short: shape " + to_string(h.shape) + " of " + std::string(name_of(h.dtype)) +
                 " needs " + std::to_string(need) + " bytes, " + std::to_string(have) +
                 " are there");
  Shape shape = h.shape;
  if (h.fortran) std::reverse(shape.begin(), shape.end());
  Ref<Buffer> copy = allocate(need);
  if (need) std::memcpy(copy->data(), data + offset, need);
  if (h.swapped) {
    const std::size_t size = is_complex(h.dtype) ? sizeof(float) : size_of(h.dtype);
    auto* p = static_cast<std::byte*>(copy->data());
    for (std::size_t i = 0; i < need; i += size) std::reverse(p + i, p + i + size);
  }
  const bool is_bool = h.dtype == Dtype::bool_;  // a file's bytes may be others than 0 and 1
  const array raw(std::move(copy), shape, is_bool ? uint8 : h.dtype);
  const array a = view(raw, h.dtype);
  return h.fortran ? transpose(a) : a;
}

}  // namespace

void save(std::ostream& out, const array& a) {
  const array rows = contiguous(a);
  const void* data = rows.raw_data();
  std::string header = "{'descr': '" + std::string(kCodes[static_cast<int>(a.dtype())].text) +
                       "', 'fortran_order': False, 'shape': " + to_string(a.shape()) + ", }";
  // The elements begin at a multiple of 64 bytes.
  const std::size_t start = header.size() + 1 > 65535 ? 12 : 10;
  header.append(63 - (start + header.size()) % 64, ' ');
  header += '\n';
  out.write(kMagic, 6);
  const std::size_t n = header.size();
  const char head[] = {static_cast<char>(start == 12 ? 2 : 1),
                       0,
                       static_cast<char>(n),
                       static_cast<char>(n >> 8),
                       static_cast<char>(n >> 16),
                       static_cast<char>(n >> 24)};
  out.write(head, static_cast<std::streamsize>(start - 6));
  out << header;
  out.write(static_cast<const char*>(data), static_cast<std::streamsize>(rows.nbytes()));
}

void save(const std::string& path, const array& a) {
  a.eval();
  std::ofstream out(path, std::ios::binary);
  if (!out) io::fail("save", path, "cannot be opened for writing");
  save(out, a);
  if (!out.flush()) io::fail("save", path, "could not be written whole");
}

array load(std::istream& in, const std::string& name) { return from_bytes(io::read_all(in), name); }
array load(const std::string& path) { return from_bytes(io::map_file("load", path), path); }

}  // namespace cermet
