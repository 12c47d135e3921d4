// The memory of tiles, and what goes in and out of them.
#include "cpu/program/tiles.h"

#include <cstring>
#include <utility>

#include "cpu/program/arrange.h"
#include "cpu/program/columns.h"

namespace cermet::cpu {
namespace {

constexpr std::int64_t kMinWidth = 128;  // of a unit that is narrow for more threads
constexpr std::int64_t kLongRow = 256;   // of a region: worth tiles that end with it
constexpr std::int64_t kShortRow = 24;   // of arrays that are not adjacent: worth code for rows

// Over the domain for full extent, over outer and inner axes for a row's.
Layout layout_of(std::span<const std::int64_t> domain, const Strides& strides, int outer,
                 int reduced, Extent extent) {
  Layout out;
  if (extent == Extent::scalar) return out;
  for (int i = 0; i < static_cast<int>(domain.size()); ++i)
    if (extent == Extent::full || i < outer || i >= outer + reduced) {
      out.extents.push_back(domain[i]);
      out.strides.push_back(strides[i]);
    }
  merge_axes(out.extents, {&out.strides, 1});
  return out;
}

// Whether arrays of which nothing is reduced have rows in common, each adjacent in memory or one
// element; and which are the latter.
bool have_rows(const Program& p, const Binding& b, SmallVector<bool, 16>& constant) {
  Shape domain(b.domain.begin(), b.domain.end());
  SmallVector<Strides, 8> strides;
  const auto is_full = [&](std::size_t i) {
    return i >= p.inputs.size() || p.inputs[i].extent == Extent::full;
  };
  for (std::size_t i = 0; i < b.inputs.size(); ++i)
    strides.push_back(is_full(i) ? b.inputs[i].strides : Strides(domain.size(), 0));
  for (const BoundPort& port : b.outputs) strides.push_back(port.strides);
  merge_axes(domain, {strides.data(), strides.size()});
  if (domain.size() < 2 || domain.back() < kShortRow || !machine::takes_rows(domain.back()))
    return false;
  for (std::size_t i = 0; i < strides.size(); ++i) {
    const std::int64_t step = strides[i].back();
    if (is_full(i) && step != 1 && !(step == 0 && i < p.inputs.size())) return false;
    constant.push_back(step == 0);
  }
  return true;
}

}  // namespace

Extents::Extents(std::span<const std::int64_t> domain, int outer_axes, int reduced_axes) {
  int axis = 0;
  for (const std::int64_t n : domain) {
    (axis < outer_axes ? outer : axis < outer_axes + reduced_axes ? reduced : inner) *= n;
    ++axis;
  }
  if (inner == 1) {
    rows = std::max<std::int64_t>(1, kTile / std::max<std::int64_t>(1, reduced));
    steps = kTile;
    return;
  }
  std::int64_t pieces = std::max<std::int64_t>(1, (inner + kTile - 1) / kTile);
  const std::int64_t threads = get_num_threads();
  if (outer * pieces < threads && blocks() < threads && reduced * inner > kMaxScratch)
    pieces = std::min(threads, (inner + kMinWidth - 1) / kMinWidth);
  width = pieces == 1 ? std::max<std::int64_t>(1, inner)
                      : std::min(kTile, ((inner + pieces - 1) / pieces + 15) / 16 * 16);
  if (pieces > 1) return;  // the steps of a narrow unit are not adjacent
  if (reduced <= kLanes && reduced * width <= kTile)
    steps = reduced;
  else
    while (2 * steps * width <= kTile) steps *= 2;
}

Tiles::Tiles(const Lowered& program, const Binding& binding)
    : p_(program),
      b_(binding),
      loops_(loops()),
      geometry_(program.layout.geometry),
      x_(binding.domain, program.layout.outer, program.reduced) {
  for (std::size_t i = 0; i < p_.ports.size(); ++i) {
    const Port& port = p_.ports[i];
    layouts_.push_back(
        layout_of(b_.domain, bound(i).strides, p_.layout.outer, p_.reduced, port.extent));
    if (!port.linear) continue;
    if (layouts_[i].linear())
      layouts_[i] = {};
    else
      row_ = std::min(row_, layouts_[i].extents.back());
  }
  if (geometry_ == Geometry::lanes) scratch_elements_ = x_.unit();
  if (geometry_ == Geometry::flat) tile_ = std::min(p_.tile, x_.outer * x_.inner);
  splat_ = std::min(p_.splat, tile_);
}

std::size_t Tiles::context_bytes() const {
  std::size_t tiles = p_.registers;
  for (const Pass& pass : p_.passes) tiles += pass.expanded.size();
  std::size_t bytes = whole(table_size() * sizeof(std::byte*)) + tiles * tile_bytes() +
                      p_.slots * static_cast<std::size_t>(scratch_elements_) * 8 +
                      whole(p_.reductions * sizeof(Total)) + p_.reductions * whole(total_size());
  for (const SmallValue& v : p_.small) bytes += small_bytes(v);
  return bytes;
}

Context Tiles::make_context(std::byte* next) const {
  const auto take = [&](std::size_t size) { return std::exchange(next, next + size); };
  Context c{};
  c.table = reinterpret_cast<std::byte**>(take(whole(table_size() * sizeof(std::byte*))));
  c.totals = reinterpret_cast<Total*>(take(whole(p_.reductions * sizeof(Total))));
  for (std::size_t k = 0; k < p_.reductions; ++k) {
    std::byte* lanes = take(whole(total_size()));
    c.totals[k] = {lanes, lanes + lanes_size()};
  }
  std::fill_n(c.table, table_size(), nullptr);
  for (const SmallValue& v : p_.small) c.table[v.id] = take(small_bytes(v));
  for (const Pass& pass : p_.passes)
    for (const SmallValue& v : pass.expanded) c.table[p_.values + v.id] = take(tile_bytes());
  for (Location at = 2 * p_.values; at < table_size(); ++at) c.table[at] = take(tile_bytes());
  c.scratch = next;
  for (const SmallValue& v : p_.small)
    if (v.extent == Extent::scalar) fill_scalar(v, c.table[v.id], splat_);
  return c;
}

void Tiles::fill_scalar(const SmallValue& v, std::byte* out, std::int64_t n) const {
  const std::byte* in = v.from == Value::From::constant
                            ? reinterpret_cast<const std::byte*>(&b_.constants[v.index])
                            : b_.inputs[v.index].data;
  float wide;
  if (is_half(v.dtype)) {
    loops_.widen[static_cast<int>(v.dtype)](&wide, in, nullptr, nullptr, 1);
    in = reinterpret_cast<const std::byte*>(&wide);
  }
  splat(out, in, size_of(tile_dtype(v.dtype)), n);
}

void Tiles::load_port(std::size_t index, std::int64_t first, std::int64_t n, std::byte* out) const {
  const Port& port = p_.ports[index];
  const std::size_t size = size_of(port.dtype);
  const std::byte* base = bound(index).data;
  if (!is_half(port.dtype)) {
    if (!port.linear) return load(layouts_[index], base, size, first, n, out);
    std::memcpy(out, place(index, first, size), n * size);
    return;
  }
  const Loop widen = loops_.widen[static_cast<int>(port.dtype)];
  if (port.linear) return widen(out, place(index, first, size), nullptr, nullptr, n);
  alignas(64) std::byte narrow[kTile * 2];
  load(layouts_[index], base, size, first, n, narrow);
  widen(out, narrow, nullptr, nullptr, n);
}

void Tiles::store_port(std::size_t index, std::int64_t first, std::int64_t n,
                       const std::byte* in) const {
  const Port& port = p_.ports[index];
  const std::size_t size = size_of(port.dtype);
  std::byte* base = bound(index).data;
  if (!is_half(port.dtype)) {
    if (!port.linear) return store(layouts_[index], base, size, first, n, in);
    std::memcpy(place(index, first, size), in, n * size);
    return;
  }
  const Loop narrow_loop = loops_.narrow[static_cast<int>(port.dtype)];
  if (port.linear) return narrow_loop(place(index, first, size), in, nullptr, nullptr, n);
  alignas(64) std::byte narrow[kTile * 2];
  narrow_loop(narrow, in, nullptr, nullptr, n);
  store(layouts_[index], base, size, first, n, narrow);
}

LayoutClass classify(const Program& p, const Binding& given) {
  const Arranged arranged(p, given);
  const Binding& b = arranged.binding;
  const Extents x(b.domain, arranged.outer, p.reduced);
  LayoutClass out;
  out.outer = arranged.outer;
  if (p.reduced)
    out.geometry = x.inner == 1 && x.reduced <= kTile ? Geometry::rows : Geometry::lanes;
  bool adjacent = true;  // are all arrays, as a whole
  out.in_blocks = x.reduced > kBlock;
  out.by_rows = out.geometry != Geometry::flat && x.inner == 1 &&
                (out.in_blocks || machine::takes_rows(x.reduced));
  out.keeps = out.geometry != Geometry::lanes || x.unit() <= kMaxScratch;
  if (out.geometry == Geometry::lanes && x.inner > 1 && !p.products)
    out.by_columns = x.reduced >= ColumnCode::kSteps * kLanes ? ColumnCode::kSteps
                                                              : x.inner >= ColumnCode::kWide;
  for (std::size_t i = 0; i < p.inputs.size() + p.outputs.size(); ++i) {
    const bool input = i < p.inputs.size();
    const std::size_t k = input ? i : i - p.inputs.size();
    const Extent extent = input ? p.inputs[k].extent : p.values[p.outputs[k].value].extent;
    const BoundPort& port = input ? b.inputs[k] : b.outputs[k];
    const Layout layout = layout_of(b.domain, port.strides, arranged.outer, p.reduced, extent);
    if (out.by_rows) {
      Strides row(port.strides.begin() + arranged.outer,
                  port.strides.begin() + arranged.outer + p.reduced);
      Shape extents(b.domain.begin() + arranged.outer,
                    b.domain.begin() + arranged.outer + p.reduced);
      merge_axes(extents, {&row, 1});
      const bool constant = input && row.size() == 1 && row[0] == 0;
      out.constant.push_back(constant);
      out.by_rows =
          extent != Extent::full || constant || row.empty() || (row.size() == 1 && row[0] == 1);
    }
    if (out.by_columns) {
      const std::int64_t step = layout.extents.empty() ? 1 : layout.strides.back();
      const bool whole = layout.extents.empty() || layout.extents.back() % x.inner == 0;
      out.constant.push_back(step == 0);
      if (extent == Extent::full && !(whole && (step == 1 || (step == 0 && input))))
        out.by_columns = 0;
    }
    adjacent &= layout.linear();
    const bool has_rows =
        !layout.extents.empty() && layout.strides.back() == 1 && layout.extents.back() >= kLongRow;
    // An epilogue reads what is transposed as it lies.
    const bool copied =
        input && !p.products && extent == Extent::full && is_transposed(b.domain, port.strides);
    out.linear.push_back(layout.linear() || copied ||
                         (out.geometry == Geometry::flat && extent == Extent::full && has_rows));
  }
  if (!p.reduced && !p.products && !adjacent) out.by_rows = have_rows(p, b, out.constant);
  if (!out.by_rows && !out.by_columns) out.constant.clear();
  return out;
}

}  // namespace cermet::cpu
