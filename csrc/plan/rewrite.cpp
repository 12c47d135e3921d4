// Slice updates of one array become one node, so that each is stored once into one memory.
#include "plan/rewrite.h"

#include <algorithm>
#include <optional>

#include "graph/tracing.h"
#include "plan/region.h"

namespace cermet {
namespace {

constexpr std::size_t kMostUpdates = 32;  // of one node: each is compared with all others

bool is_update(const Node& n) {
  return n.status.load(std::memory_order_acquire) == Status::lazy &&
         n.primitive->kind() == Kind::slice_update && !is_traced(n);
}

}  // namespace

void join_updates(Node& last) {
  if (!is_update(last)) return;
  struct Part {
    SliceUpdate::Slice slice;
    array update;
    Region region;
  };
  std::vector<Part> parts;  // the last one first
  const auto add = [&parts](const Node& n, std::size_t k) {
    const auto& p = static_cast<const SliceUpdate&>(*n.primitive);
    parts.push_back({{p.start_of(k), p.step_of(k)}, n.inputs[k], region_of(n, k)});
  };
  for (std::size_t k = last.inputs.size(); k-- > 1;) add(last, k);
  array base = last.inputs[0];
  std::size_t joined = 0;
  // The loop holds `base`, and who updates it does.
  for (; is_update(*base.node()) && base.node()->refs() == 2 && base.stream() == last.stream &&
         !base.node()->constant;
       ++joined) {
    const Node& n = *base.node();
    if (parts.size() + n.inputs.size() > kMostUpdates) break;
    const std::size_t later = parts.size();
    bool apart = true;
    for (std::size_t k = n.inputs.size(); apart && k-- > 1;) {
      const Region region = region_of(n, k);
      bool dead = false;
      for (std::size_t i = 0; apart && !dead && i < later; ++i) {
        const auto both = common(region, parts[i].region);
        dead = both && size_of(*both) == size_of(region);
        apart = dead || !both;
      }
      if (apart && !dead) add(n, k);
    }
    if (!apart) {
      parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(later), parts.end());
      break;
    }
    base = array(n.inputs[0]);
  }
  if (joined == 0) return;
  std::vector<SliceUpdate::Slice> slices;
  SmallVector<array, 2> inputs{base};
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    slices.push_back(std::move(part->slice));
    inputs.push_back(std::move(part->update));
  }
  last.primitive = make_ref<const SliceUpdate>(std::move(slices));
  last.inputs = std::move(inputs);
}

}  // namespace cermet
