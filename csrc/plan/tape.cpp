// Recording: a depth-first walk with a stack of its own, since graphs are deep.
#include "plan/tape.h"

#include <unordered_map>
#include <unordered_set>

#include "plan/mask.h"

namespace cermet {
namespace {

struct ShapeHash {
  std::size_t operator()(const Shape& shape) const {
    std::size_t h = shape.size();
    for (const std::int64_t d : shape) h = (h ^ static_cast<std::size_t>(d)) * 0x9e3779b97f4a7c15;
    return h ^ h >> 32;
  }
};

struct Scalar {
  Dtype dtype;
  std::uint64_t bits;
  bool operator==(const Scalar&) const = default;
};
struct ScalarHash {
  std::size_t operator()(const Scalar& s) const {
    const std::size_t h = (s.bits ^ static_cast<std::size_t>(s.dtype) << 56) * 0x9e3779b97f4a7c15;
    return h ^ h >> 32;
  }
};

class Recorder {
 public:
  explicit Recorder(LimitsOf limits) : limits_(limits) {}

  Tape run(const Arrays& outputs) {
    static std::uint32_t epoch = 0;  // under graph_mutex()
    epoch_ = ++epoch;
    for (const array& out : outputs) {
      enter(out.node());
      while (!stack_.empty()) {
        Frame& top = stack_.back();
        if (top.next < top.reads.size()) {
          Node* child = top.reads[top.next++].node();
          if (!child->constant) enter(child);
        } else {
          add(top.node, top.reads, top.expanded ? Tape::expanded : 0);
          stack_.pop_back();
        }
      }
    }
    tape_.first.push_back(static_cast<std::uint32_t>(tape_.operands.size()));
    find_held(outputs);
    return std::move(tape_);
  }

 private:
  struct Frame {
    Node* node;
    std::span<const array> reads;
    std::size_t next;
    bool expanded;
  };

  // Notes a node that is not on the tape yet. One that has its value goes there at once.
  void enter(Node* n) {
    if (n->mark == epoch_) return;
    n->mark = epoch_;
    const Status status = n->status.load(std::memory_order_acquire);
    if (status != Status::lazy) {
      if (status == Status::scheduled || status == Status::encoded) tape_.pending.push_back(n);
      return add(n, {}, Tape::leaf);  // a failed one fails its step
    }
    if (is_expanded(*n)) return stack_.push_back({n, {&expansion_of(*n), 1}, 0, true});
    stack_.push_back({n, {n->inputs.data(), n->inputs.size()}, 0, false});
  }

  // Whether its expansion stands for a composite, or for one of its results: the device does not
  // take it whole.
  bool is_expanded(const Node& n) const {
    const Node& of = n.primitive->kind() == Kind::pick ? *n.inputs[0].node() : n;
    return of.primitive && of.primitive->kind() == Kind::composite &&
           of.status.load(std::memory_order_acquire) == Status::lazy &&
           !limits_(of.stream).takes(of);
  }

  void add(Node* n, std::span<const array> reads, std::uint8_t flags) {
    n->slot = static_cast<Slot>(tape_.nodes.size());
    tape_.nodes.push_back(n);
    tape_.first.push_back(static_cast<std::uint32_t>(tape_.operands.size()));
    uses_.push_back(0);
    const bool leaf = flags & Tape::leaf;
    Kind kind = Kind::identity;
    std::uint32_t operation = 0;
    if (!leaf) {
      for (const array& in : reads) read(in.node());
      if (flags & Tape::expanded) {
        // The composite has one handle on its expansion, and keeps its inputs until it is planned.
        if (const Node* e = reads[0].node(); !e->constant && !counted_.insert(e).second)
          --uses_[e->slot];
        for (const array& in : n->inputs)
          if (in.node()->mark == epoch_) ++uses_[in.node()->slot];
      } else {
        kind = n->primitive->kind();
      }
      operation = static_cast<std::uint32_t>(kind) + 1;
      if (kind == Kind::elementwise)
        operation |= static_cast<std::uint32_t>(static_cast<const Elementwise&>(*n->primitive).op)
                     << 8;
      if (kind == Kind::reduce && in_chunks(*n)) flags |= Tape::chunked;
    }
    if (n->stream != stream_) {
      stream_ = n->stream;
      tape_.key.push_back(0xffu | static_cast<std::uint32_t>(stream_.device.type) << 8 |
                          static_cast<std::uint32_t>(stream_.device.index) << 16);
      tape_.key.push_back(static_cast<std::uint32_t>(stream_.index));
    }
    const std::uint32_t shape = shape_of(*n, reads);
    tape_.key.push_back(operation | static_cast<std::uint32_t>(n->dtype) << 16 |
                        static_cast<std::uint32_t>(flags) << 24);
    tape_.key.push_back(shape);
    if (!leaf && is_traced(*n)) flags |= Tape::traced;  // no part of the key
    tape_.kinds.push_back(kind);
    tape_.flags.push_back(flags);
    if (leaf) return;
    if (kind == Kind::reduce) {
      const auto& reduce = static_cast<const Reduce&>(*n->primitive);
      tape_.key.push_back(static_cast<std::uint32_t>(reduce.op) << 16 |
                          static_cast<std::uint32_t>(reduce.axes.size()));
      for (const int axis : reduce.axes) tape_.key.push_back(static_cast<std::uint32_t>(axis));
    }
    tape_.key.push_back(static_cast<std::uint32_t>(reads.size()));
    for (std::size_t i = tape_.first.back(); i < tape_.operands.size(); ++i)
      tape_.key.push_back(tape_.operands[i].bits());
  }

  void read(Node* in) {
    if (!in->constant) {
      ++uses_[in->slot];
      return tape_.operands.push_back(Operand::node(in->slot));
    }
    const auto [it, added] = constants_.try_emplace(
        Scalar{in->dtype, in->scalar}, static_cast<std::uint32_t>(tape_.constants.size()));
    if (added) {
      tape_.constants.push_back(in);
      tape_.key.push_back(static_cast<std::uint32_t>(in->dtype) << 8 | 0xfe);
    }
    tape_.operands.push_back(Operand::constant(it->second));
  }

  bool in_chunks(const Node& reduction) const {
    const auto chunks = limits_(reduction.stream).chunks;
    return chunks && chunks_of(reduction, chunks) > 1;
  }

  // A number for the shape. A new one is described in the key, its extents by numbers, too.
  std::uint32_t shape_of(const Node& n, std::span<const array> reads) {
    if (!reads.empty())
      if (const Node& in = *reads[0].node(); !in.constant && in.shape == n.shape) {
        shape_numbers_.push_back(shape_numbers_[in.slot]);
        return shape_numbers_.back();
      }
    const auto [it, added] =
        shapes_.try_emplace(n.shape, static_cast<std::uint32_t>(shapes_.size()));
    if (added) {
      tape_.key.push_back(static_cast<std::uint32_t>(n.shape.size()) << 8 | 0xfd);
      for (const std::int64_t d : n.shape) {
        const auto known = extents_.try_emplace(d, static_cast<std::uint32_t>(extents_.size()));
        tape_.key.push_back(known.first->second);
      }
    }
    shape_numbers_.push_back(it->second);
    return it->second;
  }

  void find_held(const Arrays& outputs) {
    for (Slot s = 0; s < tape_.nodes.size(); ++s)
      if (!tape_.is(s, Tape::leaf) && tape_.nodes[s]->refs() > uses_[s])
        tape_.flags[s] |= Tape::held;
    for (const array& out : outputs)
      if (out.node()->mark == epoch_ && !tape_.is(out.node()->slot, Tape::leaf))
        tape_.flags[out.node()->slot] |= Tape::held;
    std::uint32_t word = 0;
    for (Slot s = 0; s < tape_.nodes.size(); ++s) {
      word |= static_cast<std::uint32_t>(tape_.is(s, Tape::held)) << (s & 31);
      if ((s & 31) == 31 || s + 1 == tape_.nodes.size()) {
        tape_.key.push_back(word);
        word = 0;
      }
    }
  }

  const LimitsOf limits_;
  std::uint32_t epoch_ = 0;
  Stream stream_{{DeviceType::cpu, -1}, -1};  // of the node before
  std::vector<Frame> stack_;
  Tape tape_;
  std::vector<std::uint32_t> uses_, shape_numbers_;  // of each node
  std::unordered_map<Shape, std::uint32_t, ShapeHash> shapes_;
  std::unordered_map<std::int64_t, std::uint32_t> extents_{{0, 0}, {1, 1}};
  std::unordered_map<Scalar, std::uint32_t, ScalarHash> constants_;
  std::unordered_set<const Node*> counted_;  // expansions that were read
};

}  // namespace

Tape record(const Arrays& arrays, LimitsOf limits) { return Recorder(limits).run(arrays); }

}  // namespace cermet
