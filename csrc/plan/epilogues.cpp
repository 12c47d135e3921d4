// Epilogues: a product whose result one cluster of elementwise work reads becomes a part of that
// cluster, which then runs on the product's tiles.
#include <map>

#include "plan/cluster.h"

namespace cermet {
namespace {

// Who reads a node: the cluster of the highest level. Is it above those of all others, and are
// there any?
struct Reader {
  int cluster = kNone;
  bool highest = true, alone = true;
};

}  // namespace

// The product whose result, unless a cluster reads it, a chain of reshapes has first.
Slot Clusters::unreshaped(Slot s) const {
  while (tape_.kinds[s] == Kind::reshape && !tape_.is(s, Tape::leaf) &&
         !tape_.inputs(s)[0].is_constant())
    s = tape_.inputs(s)[0].index();
  return s;
}

// Whether two products can be computed side by side.
bool Clusters::is_pair(const Product& p, const Product& q) const {
  const Node &a = node(p.slot), &b = node(q.slot);
  const Operand x = tape_.inputs(p.slot)[0], y = tape_.inputs(q.slot)[0];
  const auto kind = limits_(a.stream).epilogue;
  return a.shape == b.shape && a.dtype == b.dtype && kind(a) == kind(b) &&
         unreshaped(x.index()) == unreshaped(y.index()) &&
         tape_.node(x).shape == tape_.node(y).shape;
}

// A cluster that takes a product in is above all others that read it, as it is above those that
// read its own results: so none of them waits for itself.
void Clusters::find_epilogues() {
  std::vector<Slot> found;
  for (Slot s = 0; s < items.size(); ++s)
    if (tape_.is(s, Tape::product)) found.push_back(s);
  if (found.empty()) return;

  std::vector<Reader> readers(items.size());
  for (Slot s = 0; s < items.size(); ++s) {
    if (items[s].role == Role::leaf) continue;
    const int cluster = items[s].cluster;
    for (const Operand in : tape_.inputs(s)) {
      if (in.is_constant()) continue;
      Reader& r = readers[in.index()];
      if (r.cluster == cluster) continue;
      const int level = clusters[cluster].level;
      const int before = r.cluster == kNone ? kNone : clusters[r.cluster].level;
      r.alone = r.cluster == kNone;
      r.highest = level != before && (level > before || r.highest);
      if (level > before) r.cluster = cluster;
    }
  }

  // The products that a cluster could take in, the last one first, and whether it would have to
  // store their results.
  struct Candidate {
    Product product;
    bool stored;
  };
  std::map<int, std::vector<Candidate>> candidates;
  for (auto s = found.rbegin(); s != found.rend(); ++s) {
    const auto reads = tape_.inputs(*s);
    if (std::any_of(reads.begin(), reads.end(), [](Operand in) { return in.is_constant(); }))
      continue;
    Slot value = *s;
    const auto stored = [&] { return tape_.is(value, Tape::held) || !readers[value].alone; };
    while (!stored() && readers[value].cluster != kNone) {
      const Cluster& next = clusters[readers[value].cluster];
      if (next.fusible || tape_.kinds[next.members[0]] != Kind::reshape ||
          next.stream != node(*s).stream)
        break;
      value = next.members[0];
    }
    const Reader& reader = readers[value];
    if (reader.cluster == kNone || !reader.highest) continue;
    const Cluster& c = clusters[reader.cluster];
    if (!c.fusible || c.reduced || c.stream != node(*s).stream) continue;
    const Mask full = all_axes(c.domain.size());
    if (std::all_of(c.members.begin(), c.members.end(), [&](Slot m) {
          const auto inputs = tape_.inputs(m);
          const Operand read = Operand::node(value);
          return std::find(inputs.begin(), inputs.end(), read) == inputs.end() ||
                 mask_of(m, read) == full;
        }))
      candidates[reader.cluster].push_back({{*s, value}, stored()});
  }

  for (auto& [cluster, list] : candidates) {
    std::vector<Product> taken;
    for (std::size_t i = 0; i < list.size() && taken.empty(); ++i)
      for (std::size_t k = i + 1; k < list.size() && taken.empty(); ++k)
        if (is_pair(list[k].product, list[i].product)) taken = {list[k].product, list[i].product};
    if (taken.empty()) {
      const auto at =
          std::find_if(list.begin(), list.end(), [](const Candidate& c) { return !c.stored; });
      taken = {at == list.end() ? list[0].product : at->product};
    }
    Cluster& c = clusters[cluster];
    for (const Product& p : taken)
      for (Slot s = p.value;; s = tape_.inputs(s)[0].index()) {
        clusters[items[s].cluster].members.clear();
        items[s].cluster = cluster;
        c.members.push_back(s);
        if (s == p.slot) break;
      }
    c.products = std::move(taken);
  }
}

}  // namespace cermet
