// Fusion walks the tape backwards and puts each node into the cluster of its consumers where it
// can.
#include "plan/cluster.h"

namespace cermet {

namespace {
bool along_rows(const Cluster& c) { return !c.reduced || c.reduced >> (c.domain.size() - 1) & 1; }
}  // namespace

Clusters::Clusters(const Tape& tape, LimitsOf limits)
    : items(tape.nodes.size()), tape_(tape), limits_(limits) {
  for (Slot s = 0; s < items.size(); ++s) classify(s);
  for (Slot s = static_cast<Slot>(items.size()); s-- > 0;) {
    Item& i = items[s];
    if (i.role == Role::leaf) continue;
    if (!(i.want != kNone && !i.blocked && join(s, find(i.want)))) found(s);
    Cluster& c = clusters[i.cluster];
    c.members.push_back(s);
    c.instructions += i.role == Role::elementwise || i.role == Role::reduce;
    ask_inputs(s);
  }
  for (Item& i : items)
    if (i.role != Role::leaf) i.cluster = find(i.cluster);
  for (Item& i : items)
    if (i.role == Role::unit_reshape)
      if (Cluster& c = clusters[i.cluster]; c.members.size() == 1) {  // a view of what is there
        i.role = Role::opaque;
        c.fusible = false;
      }
  find_epilogues();
  for (Slot s = 0; s < items.size(); ++s)
    if (items[s].role != Role::leaf)
      for (const Operand in : tape_.inputs(s))
        if (const Item* p = producer(in); p && p->cluster != items[s].cluster)
          items[in.index()].escapes = true;
  find_recomputed();
}

const Item* Clusters::producer(Operand o) const {
  if (o.is_constant()) return nullptr;
  const Item& i = items[o.index()];
  return i.role == Role::leaf ? nullptr : &i;
}

void Clusters::classify(Slot s) {
  Item& i = items[s];
  if (tape_.is(s, Tape::leaf)) {
    i.role = Role::leaf;
    return;
  }
  const Node& n = node(s);
  const bool held = tape_.is(s, Tape::held);
  const auto inputs = tape_.inputs(s);
  switch (tape_.kinds[s]) {
    case Kind::elementwise:
      i.role = Role::elementwise;
      for (const Operand in : inputs)
        if (const Item* p = producer(in);
            p && p->origin != kNone && node(in.index()).size == n.size) {
          i.origin = p->origin;
          break;
        }
      break;
    case Kind::reduce:
      if (n.inputs[0].size() == 0) break;
      if (reduced_mask(n)) {
        i.role = Role::reduce;
        i.origin = static_cast<int>(s);
        break;
      }
      [[fallthrough]];  // over unit axes alone
    case Kind::identity:
      if (inputs.size() > 1) break;
      [[fallthrough]];
    case Kind::reshape: {
      const Operand in = inputs[0];
      if (without_units(n.shape) != without_units(tape_.node(in).shape)) break;
      const Item* p = producer(in);
      const bool computed = p && !tape_.is(in.index(), Tape::held) &&
                            (p->role == Role::elementwise || p->role == Role::reduce ||
                             p->role == Role::unit_reshape);
      if (held && !computed) break;  // a view costs nothing
      i.role = Role::unit_reshape;
      if (computed) i.origin = p->origin;
      break;
    }
    case Kind::broadcast:
      if (!held) i.role = Role::broadcast;
      break;
    default: break;
  }
  // Only an empty array can have so many extents other than 1.
  if (n.shape.size() > kMaxMaskedAxes && without_units(n.shape).size() > kMaxMaskedAxes)
    i.role = Role::opaque;
}

int Clusters::find(int c) const {
  while (clusters[c].parent != kNone) c = clusters[c].parent;
  return c;
}

// Starts a cluster for a node that joins none.
void Clusters::found(Slot s) {
  Item& i = items[s];
  const Node& n = node(s);
  Cluster c;
  c.level = i.level + 1;
  c.stream = n.stream;
  if (i.role == Role::unit_reshape) {
    const Item* p = producer(tape_.inputs(s)[0]);
    if (!p || p->role == Role::opaque) i.role = Role::opaque;
  }
  if (i.role == Role::broadcast) i.role = Role::opaque;
  if (i.role != Role::opaque) {
    c.fusible = true;
    i.extended = false;
    if (i.role == Role::reduce) {
      c.domain = without_units(n.inputs[0].shape());
      c.reduced = reduced_mask(n);
      c.extended = i.extended = true;
      i.mask = all_axes(c.domain.size()) & ~c.reduced;
    } else {
      c.domain = without_units(n.shape);
      i.mask = all_axes(c.domain.size());
    }
  }
  c.read = read_with(c, s);
  c.written = writes(s, true);
  i.cluster = static_cast<int>(clusters.size());
  clusters.push_back(std::move(c));
}

// What a cluster reads once a node is in it.
std::vector<Slot> Clusters::read_with(const Cluster& c, Slot s) const {
  std::vector<Slot> read = c.read;
  std::erase(read, s);
  for (const Operand in : tape_.inputs(s))
    if (!in.is_constant() && std::find(read.begin(), read.end(), in.index()) == read.end())
      read.push_back(in.index());
  return read;
}

bool Clusters::fits(const Cluster& c, const std::vector<Slot>& read, std::size_t written) const {
  const Limits& limits = limits_(c.stream);
  if (read.size() + written > limits.arrays) return false;
  // What can join no program is computed before this one, and held for it. A view holds what it is
  // of.
  std::vector<Slot> computed;
  for (Slot s : read) {
    while (items[s].role == Role::opaque && is_view(tape_.kinds[s])) {
      const Operand of = tape_.inputs(s)[0];
      if (of.is_constant()) break;
      s = of.index();
    }
    if (items[s].role == Role::opaque &&
        std::find(computed.begin(), computed.end(), s) == computed.end())
      computed.push_back(s);
  }
  return computed.size() <= limits.computed;
}

// The buffers an item adds to what its program writes: a result, a reduction's chunks.
std::size_t Clusters::writes(Slot s, bool result) const {
  return result + tape_.is(s, Tape::chunked);
}

void Clusters::refresh(Item& i, const Cluster& c) const {
  if (i.extended == c.extended) return;
  i.extended = c.extended;
  Mask out = 0, mask = i.mask;
  for (Mask kept = all_axes(c.domain.size()) & ~c.reduced; kept; kept &= kept - 1, mask >>= 1)
    if (mask & 1) out |= kept & -kept;
  i.mask = out;
}

// Tries to add a node to the cluster that wants it.
bool Clusters::join(Slot s, int index) {
  Item& i = items[s];
  Cluster& c = clusters[index];
  const Node& n = node(s);
  if (i.role == Role::opaque || !c.fusible || n.stream != c.stream ||
      c.instructions >= limits_(c.stream).instructions)
    return false;
  std::vector<Slot> read = read_with(c, s);
  const std::size_t written = c.written + writes(s, tape_.is(s, Tape::held) || i.shared);
  if (!fits(c, read, written)) return false;
  refresh(i, c);
  const Mask full = all_axes(c.domain.size());
  const Mask kept = full & ~c.reduced;
  if (i.role == Role::reduce) {
    if (i.spread && tape_.is(s, Tape::chunked)) return false;
    const Mask reduced = reduced_mask(n);
    const Shape domain = without_units(n.inputs[0].shape());
    if (!c.reduced && i.mask == full && reduced && domain != c.domain) {
      // Everything so far is a value a row of the larger domain.
      c.domain = domain;
      c.reduced = reduced;
      c.extended = true;
      for (const Slot m : c.members) refresh(items[m], c);
      refresh(i, c);
    } else if (c.reduced) {
      if (domain != c.domain || reduced != c.reduced || i.mask != kept) return false;
    } else {
      if (domain != c.domain || !reduced || i.mask != (full & ~reduced)) return false;
      c.reduced = reduced;
    }
  } else if (i.mask != full && !(c.reduced && i.mask == kept)) {
    // A value of fewer axes is worth computing a row only when it comes from a reduction that can
    // join, too.
    if (c.reduced || i.origin == kNone) return false;
    const auto origin = static_cast<Slot>(i.origin);
    if (tape_.is(origin, Tape::chunked)) return false;
    const Mask reduced = reduced_mask(node(origin));
    if (i.mask != (full & ~reduced) || without_units(node(origin).inputs[0].shape()) != c.domain)
      return false;
    c.reduced = reduced;
  }
  i.cluster = index;
  c.read = std::move(read);
  c.written = written;
  return true;
}

// Where an operand's axes lie in the domain of its reader's cluster.
Mask Clusters::mask_of(Slot reader, Operand in) const {
  const Item& i = items[reader];
  if (i.role == Role::elementwise || i.role == Role::broadcast)
    return broadcast_mask(node(reader).shape, i.mask, node(in.index()).shape);
  return i.role == Role::reduce ? all_axes(clusters[i.cluster].domain.size()) : i.mask;
}

void Clusters::ask_inputs(Slot s) {
  Item& i = items[s];
  const Mask full = all_axes(clusters[i.cluster].domain.size());
  for (const Operand in : tape_.inputs(s)) {
    if (in.is_constant()) continue;
    const Mask mask = mask_of(s, in);
    Item& wanted = items[in.index()];
    if (i.role != Role::opaque && i.role != Role::reduce)
      wanted.spread |= i.spread || (i.mask == full && mask != full);
    ask(wanted, i.cluster, i.role != Role::opaque, mask);
  }
}

void Clusters::ask(Item& i, int cluster, bool fusible, Mask mask) {
  const Cluster& c = clusters[cluster];
  const int want = i.want == kNone ? kNone : find(i.want);
  i.shared |= want != kNone && want != find(cluster);
  if (want == kNone || c.level > i.level) {
    i.want = cluster;
    i.level = c.level;
    i.blocked = !fusible;
    i.mask = mask;
    i.extended = c.extended;
  } else if (c.level == i.level && !i.blocked) {
    refresh(i, clusters[want]);
    i.blocked = !fusible || mask != i.mask || (want != cluster && !merge(want, cluster, mask));
    if (i.blocked && fusible && want != cluster) {
      const Mask before = i.mask;
      // What runs along rows goes first: values a row can join it, too.
      const bool first = along_rows(c) && !along_rows(clusters[want]);
      i.blocked = !(first && raise(i, cluster, mask)) && !raise(i, want, before) &&
                  !raise(i, cluster, mask);
    }
  }
}

// Puts a cluster above the others of its level that read a value, for that to join it: as long as
// none of what it reads has a place.
bool Clusters::raise(Item& i, int index, Mask mask) {
  Cluster& c = clusters[index];
  const Mask full = all_axes(c.domain.size());
  if (mask != full && !(c.reduced && mask == (full & ~c.reduced))) return false;
  for (const Slot s : c.read)
    if (items[s].cluster != kNone) return false;
  ++c.level;
  for (const Slot s : c.read) {
    Item& other = items[s];
    if (other.want == kNone || other.level > c.level) continue;
    other.blocked |= find(other.want) != index;
    other.level = c.level;
  }
  i.want = index;
  i.mask = mask;
  i.extended = c.extended;
  return true;
}

// Joins two clusters of one level that read the same full value.
bool Clusters::merge(int a, int b, Mask mask) {
  if (clusters[a].members.size() < clusters[b].members.size()) std::swap(a, b);
  Cluster& into = clusters[a];
  Cluster& from = clusters[b];
  if (!into.fusible || !from.fusible || into.extended != from.extended ||
      into.stream != from.stream || into.domain != from.domain ||
      mask != all_axes(into.domain.size()) || into.domain.empty() ||
      (into.reduced && from.reduced && into.reduced != from.reduced) ||
      into.instructions + from.instructions > limits_(into.stream).instructions)
    return false;
  std::vector<Slot> read = into.read;
  for (const Slot s : from.read)
    if (std::find(read.begin(), read.end(), s) == read.end()) read.push_back(s);
  if (!fits(into, read, into.written + from.written)) return false;
  into.read = std::move(read);
  into.written += from.written;
  into.reduced |= from.reduced;
  into.instructions += from.instructions;
  into.members.insert(into.members.end(), from.members.begin(), from.members.end());
  for (const Slot m : from.members) items[m].cluster = a;
  from.members = {};
  from.parent = a;
  return true;
}

}  // namespace cermet
