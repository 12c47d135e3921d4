// The tape: what an evaluation must compute, as a list, and the key that tells structures apart.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "graph/primitives.h"

namespace cermet {

using Slot = std::uint32_t;  // a node's place on the tape

// What a node on the tape reads: another of its nodes, or a constant by its number.
class Operand {
 public:
  static Operand node(Slot slot) { return Operand(slot); }
  static Operand constant(std::uint32_t number) { return Operand(number | kConstant); }
  bool is_constant() const { return bits_ & kConstant; }
  std::uint32_t index() const { return bits_ & ~kConstant; }
  std::uint32_t bits() const { return bits_; }
  bool operator==(const Operand&) const = default;

 private:
  explicit Operand(std::uint32_t bits) : bits_(bits) {}
  static constexpr std::uint32_t kConstant = 1u << 31;
  std::uint32_t bits_;
};

// What planning has to know of the device that a stream belongs to.
struct Limits {
  std::size_t arrays;        // that a program reads and writes
  std::size_t computed;      // inputs of a program that are computed for it: it holds them all
  std::size_t instructions;  // of a program
  // In how many chunks long rows are reduced (`outer` x `inner` rows of `length` elements). What
  // follows from the rows is then another program. Null: a row is always reduced at once.
  std::int64_t (*chunks)(std::int64_t outer, std::int64_t length, std::int64_t inner);
  // Whether the device computes a composite whole. Else its expansion is planned.
  bool (*takes)(const Node& composite);
  bool regions = false;  // whether programs and concatenations can write a part of an array
  // Whether the device can run a program on the tiles of a product, as its epilogue: 0, or the
  // product's kind. Two of one kind, of equal shapes and one left operand, can have one together.
  // Null: never.
  std::uint32_t (*epilogue)(const Node& product) = nullptr;
  // What an operation may cost (flow.h) to be done by each reader rather than stored and read.
  double again = 1;
};
using LimitsOf = const Limits& (*)(Stream);

struct Tape {
  enum Flag : std::uint8_t {
    leaf = 1,       // has its value, or another batch computes it
    held = 2,       // a result that someone outside the tape refers to
    chunked = 4,    // a reduction that its device makes in chunks
    traced = 8,     // a trace needs its graph; no part of the key
    kept = 32,      // the same of a leaf; no part of the key
    product = 64,   // its device can run a program as its epilogue
    expanded = 16,  // a traced composite (or a result of one), for which its expansion stands
  };

  std::vector<Node*> nodes;         // inputs first
  std::vector<Kind> kinds;          // of each node; what is expanded is the identity of its operand
  std::vector<std::uint8_t> flags;  // of each node
  std::vector<std::uint32_t> first;  // of each node's operands; then their number
  std::vector<Operand> operands;
  std::vector<const Node*> constants;  // by type and bits
  std::vector<Node*> pending;          // leaves that another batch computes
  std::vector<std::uint32_t> uses;     // of each node, by others on the tape
  std::vector<Slot> calls;             // of compiled functions, that were not expanded
  bool put_together = false;           // something reads a part, or parts (see flow_through)
  bool rewritten = false;              // by flow_through
  // Operations, types, sharing, streams and flags; of extents only which are 0, 1 or equal, of
  // constants only which are equal. Tapes with one key have one plan.
  std::vector<std::uint32_t> key;
  // Of a folded tape all extents and constants: with the key they tell what it becomes.
  std::vector<std::uint32_t> numbers;

  std::span<const Operand> inputs(Slot s) const {
    return {operands.data() + first[s], operands.data() + first[s + 1]};
  }
  bool is(Slot s, Flag flag) const { return flags[s] & flag; }
  bool is_folded() const { return put_together || !calls.empty(); }
  const Node& node(Operand o) const {
    return o.is_constant() ? *constants[o.index()] : *nodes[o.index()];
  }
};

// Lists what the arrays need and is not computed yet. The tape stays until the next is recorded;
// the caller holds graph_mutex(), for the graph is rewritten where that saves work.
Tape& record(const Arrays& arrays, LimitsOf limits);
// The same with the calls of compiled functions left whole, and not rewritten yet, if no trace
// needs any of it and whoever wants a result of a call wants it now.
Tape& record_folded(const Arrays& arrays, LimitsOf limits);
// What `record` gives right after `record_folded` gave what `folded` is a copy of. Its nodes stay
// where they are meanwhile, but for those that nobody refers to any more, which become null.
Tape& record_unfolded(const Arrays& arrays, LimitsOf limits, Tape& folded);

}  // namespace cermet
