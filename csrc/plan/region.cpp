// What regions have in common: along each axis, two arithmetic progressions.
#include "plan/region.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>

#include "graph/primitives/movement.h"

namespace cermet {
namespace {

constexpr std::size_t kMostParts = 64;  // that a rest is made of
constexpr std::int64_t kMostResidues = 8;

std::int64_t floor_divide(std::int64_t a, std::int64_t b) {
  return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

// The numbers of the elements of `a` that `b` has, too: {} where there are none.
Range common(const Range& a, const Range& b) {
  constexpr Range kNone{0, 1, 0};
  if (a.count == 0 || b.count == 0) return kNone;
  const std::int64_t low = std::min(b.start, b.at(b.count - 1));
  const std::int64_t high = std::max(b.start, b.at(b.count - 1));
  const std::int64_t step = a.count == 1 ? 1 : a.step, other = b.count == 1 ? 1 : std::abs(b.step);
  // Those between b's ends...
  const std::int64_t near = step > 0 ? low : high, far = step > 0 ? high : low;
  std::int64_t first = std::max<std::int64_t>(0, -floor_divide(a.start - near, step));
  const std::int64_t last = std::min(a.count - 1, floor_divide(far - a.start, step));
  // ... of which every `by`-th is one of b's.
  const std::int64_t by = other / std::gcd(other, std::abs(step));
  const std::int64_t end = std::min(last, first + by - 1);
  while (first <= end && (a.start + first * step - b.start) % other != 0) ++first;
  if (first > end) return kNone;
  return {first, by, (last - first) / by + 1};
}

}  // namespace

Region whole_of(const Shape& shape) {
  Region out;
  for (const std::int64_t n : shape) out.push_back({0, 1, n});
  return out;
}

Region region_of(const Shape& start, const Shape& step, const Shape& shape) {
  Region out;
  for (std::size_t i = 0; i < shape.size(); ++i) out.push_back({start[i], step[i], shape[i]});
  return out;
}

Region region_of(const Node& node, std::size_t i) {
  const auto& p = static_cast<const SliceUpdate&>(*node.primitive);
  return region_of(p.start_of(i), p.step_of(i), node.inputs[i].node()->shape);
}

Shape shape_of(const Region& region) {
  Shape out;
  for (const Range& r : region) out.push_back(r.count);
  return out;
}

std::int64_t size_of(const Region& region) {
  std::int64_t n = 1;
  for (const Range& r : region) n *= r.count;
  return n;
}

Region compose(const Region& region, const Region& part) {
  Region out;
  for (std::size_t i = 0; i < region.size(); ++i)
    out.push_back({region[i].at(part[i].start), region[i].step * part[i].step, part[i].count});
  return out;
}

Region numbers_in(const Region& region, const Region& elements) {
  Region out;
  for (std::size_t i = 0; i < region.size(); ++i) {
    const Range &r = region[i], &e = elements[i];
    out.push_back({(e.start - r.start) / r.step, e.count == 1 ? 1 : e.step / r.step, e.count});
  }
  return out;
}

std::optional<Region> common(const Region& region, const Region& other) {
  Region out;
  for (std::size_t i = 0; i < region.size(); ++i) {
    out.push_back(common(region[i], other[i]));
    if (out.back().count == 0) return std::nullopt;
  }
  return out;
}

bool overlap(const Region& a, const Region& b) { return common(a, b).has_value(); }

bool add_rest(const Region& region, const Region& part, std::vector<Region>& rest) {
  Region left = whole_of(shape_of(region));  // narrowed to the part, axis by axis
  for (std::size_t i = 0; i < region.size(); ++i) {
    const Range in = part[i];
    const auto add = [&](Range range) {
      if (range.count <= 0) return;
      Region piece = left;
      piece[i] = range;
      rest.push_back(std::move(piece));
    };
    const std::int64_t last = in.at(in.count - 1), by = in.count == 1 ? 1 : in.step;
    if (by > kMostResidues) return false;
    add({0, 1, in.start});
    for (std::int64_t r = 1; r < by; ++r) add({in.start + r, by, in.count - 1});
    add({last + 1, 1, region[i].count - last - 1});
    left[i] = in;
  }
  return rest.size() <= kMostParts;
}

std::vector<Region> remainder_of(const Node& node) {
  std::vector<Region> left{whole_of(node.shape)};
  for (std::size_t k = 1; k < node.inputs.size(); ++k) {
    const Region update = region_of(node, k);
    std::vector<Region> next;
    for (const Region& piece : left) {
      const auto taken = common(piece, update);
      if (!taken) {
        next.push_back(piece);
        continue;
      }
      std::vector<Region> rest;
      if (!add_rest(piece, *taken, rest)) return {whole_of(node.shape)};
      for (const Region& part : rest) next.push_back(compose(piece, part));
    }
    left = std::move(next);
    if (left.size() > kMostParts) return {whole_of(node.shape)};
  }
  return left;
}

}  // namespace cermet
