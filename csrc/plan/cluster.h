// Fusion: which nodes of a tape become one row program.
#pragma once

#include <vector>

#include "plan/mask.h"
#include "plan/tape.h"

namespace cermet {

inline constexpr int kNone = -1;

// What fusion makes of a node.
// A unit_reshape (or an identity) has its input's elements in the same order.
enum class Role : std::uint8_t { leaf, opaque, elementwise, broadcast, unit_reshape, reduce };

struct Item {
  Role role = Role::opaque;
  int origin = kNone;  // the slot of a reduction it follows from elementwise
  // What its consumers wish: the highest cluster among theirs, and where its axes lie in that
  // cluster's domain.
  int want = kNone;
  int level = kNone;
  Mask mask = 0;
  bool blocked = false;   // it cannot join that cluster
  bool extended = false;  // `mask` is over the domain as extended by a reduction
  bool shared = false;    // read by clusters of several levels
  bool spread = false;    // a value a row that full ones of its cluster follow from
  // Where it was put.
  int cluster = kNone;
  bool escapes = false;  // read outside its cluster
  bool again = false;    // by clusters that compute it again, so that it is not stored
};

// A product that a cluster is the epilogue of, and its result as the cluster reads it: the product
// itself or a reshape of it.
struct Product {
  Slot slot, value;
};

struct Cluster {
  bool fusible = false;
  bool extended = false;
  int level = 0;
  int parent = kNone;  // merged into
  std::size_t instructions = 0;
  Stream stream;
  Shape domain;  // extents other than 1
  Mask reduced = 0;
  std::vector<Slot> members;
  std::vector<Product> products;  // among the members, too
  // What the members read and nobody in the cluster computes so far, and how many arrays they
  // write.
  std::vector<Slot> read;
  std::size_t written = 0;
};

// The nodes' clusters. Every cluster has a level, above that of all clusters that consume its
// results; a node joins the highest cluster among its consumers, so clusters never form a cycle.
// Two clusters of one level and one domain that read the same node merge.
class Clusters {
 public:
  Clusters(const Tape& tape, LimitsOf limits);

  std::vector<Item> items;  // by slot
  std::vector<Cluster> clusters;

  // The clusters in the order to run them (order.cpp).
  std::vector<int> order() const;
  // Moves an item's mask to the domain as extended since the mask was noted.
  void refresh(Item& i, const Cluster& c) const;
  // Whether others need the value of an item in memory.
  bool is_stored(Slot s) const;

 private:
  const Node& node(Slot s) const { return *tape_.nodes[s]; }
  // The item that computes an operand, or null for a leaf or a constant.
  const Item* producer(Operand o) const;
  void classify(Slot s);
  int find(int c) const;
  void found(Slot s);
  bool join(Slot s, int index);
  void ask_inputs(Slot s);
  Mask mask_of(Slot reader, Operand in) const;
  void ask(Item& i, int cluster, bool fusible, Mask mask);
  bool merge(int a, int b, Mask mask);
  bool raise(Item& i, int index, Mask mask);
  std::vector<Slot> read_with(const Cluster& c, Slot s) const;
  bool fits(const Cluster& c, const std::vector<Slot>& read, std::size_t written) const;
  std::size_t writes(Slot s, bool result) const;
  // recompute.cpp
  void find_recomputed();
  void recompute(Slot s, const std::vector<int>& readers, std::size_t& stored);
  bool trace_back(Slot s, std::vector<Slot>& steps, std::vector<Slot>& arrays) const;
  bool is_whole(Item i) const;
  // epilogues.cpp
  void find_epilogues();
  Slot unreshaped(Slot s) const;
  bool is_pair(const Product& p, const Product& q) const;

  const Tape& tape_;
  const LimitsOf limits_;
};

}  // namespace cermet
