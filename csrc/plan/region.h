// Regions: the elements of an array that start, step and count name along each axis, as slices and
// slice updates do. What two of them have in common is told exactly.
#pragma once

#include <optional>
#include <vector>

#include "cermet/array.h"

namespace cermet {

struct Range {
  std::int64_t start, step, count;
  std::int64_t at(std::int64_t i) const { return start + i * step; }
  bool operator==(const Range&) const = default;
};
using Region = SmallVector<Range, 4>;

Region whole_of(const Shape& shape);
Region region_of(const Shape& start, const Shape& step, const Shape& shape);
// Where operand `i` >= 1 of a slice update falls.
Region region_of(const Node& slice_update, std::size_t i);
Shape shape_of(const Region& region);
std::int64_t size_of(const Region& region);

// The elements `part` (of a region, by their numbers in it) of what the region is of.
Region compose(const Region& region, const Region& part);
// The numbers that elements of a region, given as a region of the same array, have in it.
Region numbers_in(const Region& region, const Region& elements);
// Which elements of a region, by their numbers in it, another region of the same array has, too.
// Nothing where they have none in common.
std::optional<Region> common(const Region& region, const Region& other);
bool overlap(const Region& a, const Region& b);
// Adds the elements of a region that are not among `part` of it, as regions by their numbers in it.
// False where they would be too many.
bool add_rest(const Region& region, const Region& part, std::vector<Region>& rest);
// What a slice update leaves of its base, as regions of it: all of it where they would be too many.
std::vector<Region> remainder_of(const Node& slice_update);

}  // namespace cermet
