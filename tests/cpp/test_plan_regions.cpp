// Regions: what two have in common, and what is left of one without the other, element by element.
#include <doctest/doctest.h>

#include <functional>
#include <random>
#include <set>

#include "plan/region.h"

using namespace cermet;

namespace {

using Place = std::vector<std::int64_t>;

std::vector<Place> places_of(const Region& region) {
  std::vector<Place> out;
  Place place;
  const std::function<void(std::size_t)> visit = [&](std::size_t axis) {
    if (axis == region.size()) return out.push_back(place);
    for (std::int64_t i = 0; i < region[axis].count; ++i) {
      place.push_back(region[axis].at(i));
      visit(axis + 1);
      place.pop_back();
    }
  };
  visit(0);
  return out;
}

struct Source {
  std::mt19937 generator{1};
  std::int64_t number(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(generator() % static_cast<unsigned>(high - low + 1));
  }
  // Of an axis of 12.
  Range range() {
    for (;;) {
      const Range r{number(0, 11), number(-4, 4), number(1, 6)};
      if (r.step != 0 && r.at(r.count - 1) >= 0 && r.at(r.count - 1) < 12) return r;
    }
  }
};

}  // namespace

TEST_CASE("what regions have in common, and the rest") {
  Source source;
  for (int t = 0; t < 20000; ++t) {
    Region a, b;
    for (std::int64_t axes = source.number(1, 2); axes > 0; --axes) {
      a.push_back(source.range());
      b.push_back(source.range());
    }
    const auto all = places_of(a), others = places_of(b);
    const std::set<Place> other(others.begin(), others.end());
    std::multiset<Place> shared;
    for (const Place& p : all)
      if (other.contains(p)) shared.insert(p);
    const auto both = common(a, b);
    CHECK(both.has_value() == !shared.empty());
    CHECK(overlap(b, a) == !shared.empty());
    if (!both) continue;
    const Region elements = compose(a, *both);
    auto found = places_of(elements);
    CHECK(std::multiset<Place>(found.begin(), found.end()) == shared);
    CHECK(places_of(compose(a, numbers_in(a, elements))) == found);
    std::vector<Region> rest;
    if (!add_rest(a, *both, rest)) continue;
    for (const Region& r : rest)
      for (const Place& p : places_of(compose(a, r))) found.push_back(p);
    CHECK(std::multiset<Place>(found.begin(), found.end()) ==
          std::multiset<Place>(all.begin(), all.end()));
  }
}
