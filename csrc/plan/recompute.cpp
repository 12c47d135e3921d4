// What a program would store for others to read, though they can compute it again from arrays of
// which fewer are read: a centred row, a scaled one, a weight of halves in float32.
#include "plan/cluster.h"
#include "plan/flow.h"

namespace cermet {
namespace {

constexpr std::size_t kMostSteps = 8;  // for one value

// Whether it costs no more than a load does, or so much.
bool is_cheap(const Node& n, double most) {
  return cost_of(static_cast<const Elementwise&>(*n.primitive).op) <= most && !is_complex(n.dtype);
}

// Whether it is a cast to what takes more memory.
bool widens(const Node& n) {
  return static_cast<const Elementwise&>(*n.primitive).op == Op::cast &&
         size_of(n.inputs[0].dtype()) < size_of(n.dtype);
}

void add_once(std::vector<Slot>& list, Slot s) {
  if (std::find(list.begin(), list.end(), s) == list.end()) list.push_back(s);
}

}  // namespace

bool Clusters::is_stored(Slot s) const {
  return tape_.is(s, Tape::held) || (items[s].escapes && !items[s].again);
}

// The steps that give a value of a cluster again, and the arrays that they begin with; false where
// some of it is not worth it.
bool Clusters::trace_back(Slot s, std::vector<Slot>& steps, std::vector<Slot>& arrays) const {
  const Item& i = items[s];
  const double most = limits_(clusters[i.cluster].stream).again;
  if (i.role == Role::elementwise ? !is_cheap(node(s), most)
                                  : i.role != Role::broadcast && i.role != Role::unit_reshape)
    return false;
  if (std::find(steps.begin(), steps.end(), s) != steps.end()) return true;
  steps.push_back(s);
  if (steps.size() > kMostSteps) return false;
  for (const Operand in : tape_.inputs(s)) {
    if (in.is_constant()) continue;
    const Slot from = in.index();
    const Item* p = producer(in);
    const bool is_here = p && p->cluster == i.cluster;
    if (!p || (is_here ? is_stored(from) : !p->again)) {
      // A view may have its elements far apart.
      if (p && p->role == Role::opaque && (is_here || is_view(tape_.kinds[from]))) return false;
      add_once(arrays, from);
    } else if (is_here && !is_whole(*p)) {
      add_once(arrays, from);  // of the rows
    } else if (!trace_back(from, steps, arrays)) {
      return false;
    }
  }
  return true;
}

// Whether a value has all axes of its cluster's domain.
bool Clusters::is_whole(Item i) const {
  const Cluster& c = clusters[i.cluster];
  refresh(i, c);
  return i.mask == all_axes(c.domain.size());
}

void Clusters::find_recomputed() {
  std::vector<std::vector<int>> readers(items.size());
  for (Slot s = 0; s < items.size(); ++s) {
    if (items[s].role == Role::leaf) continue;
    for (const Operand in : tape_.inputs(s))
      if (const Item* p = producer(in); p && p->cluster != items[s].cluster) {
        auto& list = readers[in.index()];
        if (std::find(list.begin(), list.end(), items[s].cluster) == list.end())
          list.push_back(items[s].cluster);
      }
  }
  std::vector<std::size_t> stored(clusters.size());
  for (Slot s = 0; s < items.size(); ++s)
    if (items[s].role != Role::leaf) stored[items[s].cluster] += is_stored(s);
  for (Slot s = 0; s < items.size(); ++s)
    if (items[s].escapes && !tape_.is(s, Tape::held))
      recompute(s, readers[s], stored[items[s].cluster]);
}

// Decides of a value that is stored for `readers`; its cluster stores so many.
void Clusters::recompute(Slot s, const std::vector<int>& readers, std::size_t& stored) {
  Item& i = items[s];
  Cluster& from = clusters[i.cluster];
  std::vector<Slot> steps, arrays;
  if (!from.products.empty() || from.domain.empty() || !is_whole(i) ||
      !trace_back(s, steps, arrays))
    return;
  // Sizes are not known, but which arrays have the domain's axes.
  const auto bytes_of = [&](Slot a) {
    const bool whole = without_units(node(a).shape).size() == from.domain.size();
    return whole ? static_cast<std::ptrdiff_t>(size_of(node(a).dtype)) : 0;
  };
  std::ptrdiff_t saved = bytes_of(s);
  std::vector<std::vector<Slot>> reads;
  for (const int reader : readers) {
    const Cluster& c = clusters[reader];
    if (!c.fusible || !c.products.empty() || c.stream != from.stream ||
        c.instructions + steps.size() > limits_(c.stream).instructions)
      return;
    std::vector<Slot>& read = reads.emplace_back(c.read);
    std::erase(read, s);
    saved += bytes_of(s);
    for (const Slot a : arrays) {
      if (std::find(read.begin(), read.end(), a) != read.end()) continue;
      saved -= bytes_of(a);
      read.push_back(a);
    }
    if (!fits(c, read, c.written)) return;
  }
  std::size_t rows = 0;  // that the cluster stores instead
  for (const Slot a : arrays)
    rows += items[a].role != Role::leaf && items[a].cluster == i.cluster && !is_stored(a);
  // A program that only widens is no step any more where its readers widen each element once. Where
  // operations cost less than memory none is that stores nothing else.
  const bool once = std::all_of(readers.begin(), readers.end(), [&](int reader) {
    return clusters[reader].domain.size() == from.domain.size();
  });
  const bool vanishes =
      (limits_(from.stream).again > 1 || (from.members.size() == 1 && widens(node(s)) && once)) &&
      std::all_of(from.members.begin(), from.members.end(),
                  [&](Slot m) { return std::find(steps.begin(), steps.end(), m) != steps.end(); });
  if (saved <= 0 || (stored + rows < 2 && !vanishes) || !fits(from, from.read, from.written + rows))
    return;
  for (std::size_t k = 0; k < readers.size(); ++k) {
    clusters[readers[k]].read = std::move(reads[k]);
    clusters[readers[k]].instructions += steps.size();
  }
  for (const Slot a : arrays)
    if (items[a].role != Role::leaf && items[a].cluster == i.cluster) items[a].escapes = true;
  i.again = true;
  stored += rows - 1;
  from.written += rows - 1;
}

}  // namespace cermet
