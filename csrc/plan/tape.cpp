// Recording: a depth-first walk with a stack of its own, since graphs are deep.
#include "plan/tape.h"

#include <algorithm>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "graph/hash.h"
#include "graph/tracing.h"
#include "plan/mask.h"
#include "plan/numbering.h"
#include "plan/rewrite.h"

namespace cermet {
namespace {

struct ExtentHash {
  std::size_t operator()(std::int64_t d) const { return mix(0, static_cast<std::uint64_t>(d)); }
};
struct ShapeHash {
  std::size_t operator()(const Shape& shape) const {
    std::size_t h = shape.size();
    for (const std::int64_t d : shape) h = mix(h, static_cast<std::uint64_t>(d));
    return h;
  }
};

struct Scalar {
  Dtype dtype;
  std::uint64_t bits;
  bool operator==(const Scalar&) const = default;
};
struct ScalarHash {
  std::size_t operator()(const Scalar& s) const {
    return mix(static_cast<std::size_t>(s.dtype), s.bits);
  }
};

using NodeSet = std::unordered_set<const Node*>;

// Its lists keep their memory from one recording to the next.
class Recorder {
 public:
  // Calls stay whole when `fold` says so. Of each node in `kept` the caller has a handle.
  Tape& run(const Arrays& outputs, LimitsOf limits, bool fold, const NodeSet& kept = {}) {
    limits_ = limits;
    fold_ = fold;
    ++epoch_;
    clear();
    walk(outputs);
    tape_.first.push_back(static_cast<std::uint32_t>(tape_.operands.size()));
    find_held(outputs, kept);
    if (fold && tape_.is_folded()) add_numbers();
    return tape_;
  }
  Tape& tape() { return tape_; }

 private:
  struct Frame {
    Node* node;
    std::span<const array> reads;
    std::size_t next;
    bool expanded;
    int inside;  // the expansion that it is a part of
    int within;  // that of what it reads
  };
  // The inputs of a composite whose expansion is recorded: they are no part of it.
  struct Inside {
    std::vector<const Node*> inputs;
    int outer;
  };
  static constexpr int kOutside = -1;
  static constexpr std::size_t kMostKept = 1 << 14;  // nodes whose lists keep their memory

  void clear() {
    const auto empty = [](bool keeps, auto&... lists) {
      (lists.clear(), ...);
      if (!keeps) (lists.shrink_to_fit(), ...);
    };
    empty(tape_.nodes.capacity() <= kMostKept, tape_.nodes, tape_.kinds, tape_.flags, tape_.first,
          tape_.operands, tape_.constants, tape_.pending, tape_.calls, tape_.key, tape_.numbers,
          stack_, tape_.uses, shape_numbers_);
    shapes_.clear();
    extents_.clear();
    constants_.clear();
    tape_.put_together = tape_.rewritten = false;
    stream_ = kNoStream;
  }
  void forget_expansions() {
    insides_.clear();
    if (!captured_.empty()) captured_ = {};
    if (!counted_.empty()) counted_ = {};
    if (!twins_.empty()) twins_ = {};
    if (!merged_.empty()) merged_ = {};
  }

  void walk(const Arrays& outputs) {
    struct Forget {
      Recorder& recorder;
      ~Forget() { recorder.forget_expansions(); }
    } const at_the_end{*this};
    for (const array& out : outputs) {
      enter(out.node(), kOutside);
      while (!stack_.empty()) {
        Frame& top = stack_.back();
        if (top.next < top.reads.size()) {
          Node* child = top.reads[top.next++].node();
          if (child->constant) continue;
          if (merged_.contains(child) && is_traced(*top.node)) restore(child);
          enter(child, top.within);
        } else {
          const Frame frame = top;
          stack_.pop_back();
          if (frame.expanded || frame.inside == kOutside || !merge(frame.node))
            add(frame.node, frame.reads, frame.expanded ? Tape::expanded | Tape::traced : 0);
        }
      }
    }
  }

  // Notes a node that is not on the tape yet. One that has its value goes there at once.
  void enter(Node* n, int inside) {
    if (n->mark == epoch_) return;
    n->mark = epoch_;
    while (inside != kOutside && is_input(*n, insides_[static_cast<std::size_t>(inside)]))
      inside = insides_[static_cast<std::size_t>(inside)].outer;
    const Status status = n->status.load(std::memory_order_acquire);
    if (status != Status::lazy) {
      if (status == Status::scheduled || status == Status::encoded) tape_.pending.push_back(n);
      if (inside == kOutside || !merge(n)) add(n, {}, Tape::leaf);  // a failed one fails its step
      return;
    }
    // What a call captured is no part of it, and has a value of its own from then on.
    if (inside != kOutside && captured_.contains(n)) inside = kOutside;
    int within = inside;
    while (is_expanded(*n)) {
      if (is_traced(*n))
        return stack_.push_back({n, {&expansion_of(*n), 1}, 0, true, kOutside, kOutside});
      insides_.push_back({{}, within});
      within = static_cast<int>(insides_.size()) - 1;
      const Node& composite = *composite_of(*n);
      for (const array& in : composite.inputs) insides_.back().inputs.push_back(in.node());
      for (const array& a : static_cast<const Composite&>(*composite.primitive).captured())
        if (a.node()->status.load(std::memory_order_acquire) == Status::lazy)
          captured_.insert(a.node());
      become_expansion(*n);
    }
    if (n->primitive->kind() == Kind::slice_update) join_updates(*n);
    stack_.push_back({n, {n->inputs.data(), n->inputs.size()}, 0, false, inside, within});
  }
  static bool is_input(const Node& n, const Inside& of) {
    return std::find(of.inputs.begin(), of.inputs.end(), &n) != of.inputs.end();
  }

  // ---- Equal nodes of expansions: one stands for all, so what layers share is computed once ----

  // Whether a node, whose inputs are recorded, equals one on the tape that stands for it from here.
  bool merge(Node* n) {
    const bool leaf = n->status.load(std::memory_order_acquire) != Status::lazy;
    if (leaf ? !is_small_value(*n) : has_several_results(n->primitive->kind()) || is_traced(*n))
      return false;
    if (!stack_.empty() && is_traced(*stack_.back().node)) return false;  // its reader
    std::size_t hash = static_cast<std::size_t>(n->dtype);
    if (leaf) {
      hash = mix(hash, std::hash<std::string_view>{}(bytes_of(*n)));
    } else {
      hash = mix(mix(hash, static_cast<std::size_t>(n->primitive->kind())),
                 static_cast<std::uint64_t>(n->size));
      for (const array& in : n->inputs)
        hash = mix(hash, in.node()->constant ? in.node()->scalar : in.node()->slot);
    }
    const auto [begin, end] = twins_.equal_range(hash);
    for (auto at = begin; at != end; ++at)
      if (const Node& other = *tape_.nodes[at->second]; is_twin(*n, other, leaf)) {
        n->slot = at->second;
        merged_.emplace(n, array(Ref<Node>(n)));
        return true;
      }
    twins_.emplace(hash, static_cast<Slot>(tape_.nodes.size()));
    return false;
  }
  static bool is_small_value(const Node& n) {
    return n.status.load(std::memory_order_acquire) == Status::available && n.buffer &&
           static_cast<std::size_t>(n.size) * size_of(n.dtype) <= 4096 &&
           n.strides == row_major(n.shape);
  }
  static std::string_view bytes_of(const Node& n) {
    const std::size_t size = size_of(n.dtype);
    return {static_cast<const char*>(n.buffer->data()) + static_cast<std::size_t>(n.offset) * size,
            static_cast<std::size_t>(n.size) * size};
  }
  bool is_twin(const Node& n, const Node& other, bool leaf) const {
    if (n.dtype != other.dtype || n.shape != other.shape || n.stream != other.stream) return false;
    if (leaf) return is_small_value(other) && bytes_of(n) == bytes_of(other);
    return other.primitive && n.primitive->kind() == other.primitive->kind() &&
           n.primitive->equals(*other.primitive) &&
           std::equal(n.inputs.begin(), n.inputs.end(), other.inputs.begin(), other.inputs.end(),
                      [](const array& x, const array& y) {
                        const Node &a = *x.node(), &b = *y.node();
                        return a.constant || b.constant
                                   ? a.constant && b.constant && a.dtype == b.dtype &&
                                         a.scalar == b.scalar
                                   : a.slot == b.slot;
                      });
  }
  // The reader of a merged node now reads the one that stands for it.
  void redirect(Node* reader) {
    if (merged_.empty()) return;
    for (array& in : reader->inputs)
      if (merged_.contains(in.node())) in = array(Ref<Node>(tape_.nodes[in.node()->slot]));
  }
  // For a reader that a trace needs, which may not change: a merged node gets a place after all.
  void restore(Node* n) {
    const array twin(Ref<Node>(tape_.nodes[n->slot]));
    merged_.erase(n);
    if (n->status.load(std::memory_order_acquire) != Status::lazy) return add(n, {}, Tape::leaf);
    n->primitive = Identity::instance(Identity::Why::depends);
    n->inputs = {twin};
    add(n, {n->inputs.data(), 1}, 0);
  }

  // Whether its expansion stands for a composite, or for one of its results: the device does not
  // take it whole.
  bool is_expanded(const Node& n) const {
    const Node* of = composite_of(n);
    return of && of->status.load(std::memory_order_acquire) == Status::lazy &&
           !(fold_ && identity_of(*of)) && !limits_(of->stream).takes(*of);
  }

  void add(Node* n, std::span<const array> reads, std::uint8_t flags) {
    n->slot = static_cast<Slot>(tape_.nodes.size());
    tape_.nodes.push_back(n);
    tape_.first.push_back(static_cast<std::uint32_t>(tape_.operands.size()));
    tape_.uses.push_back(0);
    const bool leaf = flags & Tape::leaf;
    Kind kind = Kind::identity;
    std::uint32_t operation = 0, product = 0;
    if (!leaf) {
      if (!(flags & Tape::expanded)) redirect(n);
      for (const array& in : reads) read(in.node());
      if (flags & Tape::expanded) {
        // The composite has one handle on its expansion, and keeps its inputs.
        if (const Node* e = reads[0].node(); !e->constant && !counted_.insert(e).second)
          --tape_.uses[e->slot];
        for (const array& in : n->inputs)
          if (in.node()->mark == epoch_ && !merged_.contains(in.node()))
            ++tape_.uses[in.node()->slot];
      } else {
        kind = n->primitive->kind();
      }
      operation = static_cast<std::uint32_t>(kind) + 1;
      if (kind == Kind::elementwise)
        operation |= static_cast<std::uint32_t>(static_cast<const Elementwise&>(*n->primitive).op)
                     << 8;
      if (kind == Kind::reduce && in_chunks(*n)) flags |= Tape::chunked;
      if (kind == Kind::matmul || kind == Kind::composite) product = product_kind(*n);
      if (product) flags |= Tape::product;
    }
    if (n->stream != stream_) {
      stream_ = n->stream;
      tape_.key.push_back(0xffu | static_cast<std::uint32_t>(stream_.device.type) << 8 |
                          static_cast<std::uint32_t>(stream_.device.index) << 16);
      tape_.key.push_back(static_cast<std::uint32_t>(stream_.index));
    }
    const std::uint32_t shape = shape_of(*n, reads);
    tape_.key.push_back(operation | static_cast<std::uint32_t>(n->dtype) << 16 |
                        static_cast<std::uint32_t>(flags & ~Tape::traced) << 24);
    tape_.key.push_back(shape);
    if (!leaf && is_traced(*n)) flags |= Tape::traced;
    tape_.kinds.push_back(kind);
    tape_.flags.push_back(flags);
    if (leaf) return;
    tape_.put_together |= reads_parts(kind) && limits_(n->stream).regions;
    if (kind == Kind::reduce) {
      const auto& reduce = static_cast<const Reduce&>(*n->primitive);
      tape_.key.push_back(static_cast<std::uint32_t>(reduce.op) << 16 |
                          static_cast<std::uint32_t>(reduce.axes.size()));
      for (const int axis : reduce.axes) tape_.key.push_back(static_cast<std::uint32_t>(axis));
    }
    if (product) tape_.key.push_back(product);
    if (const Node* of = fold_ ? composite_of(*n) : nullptr)
      if (const std::uint64_t identity = identity_of(*of)) add_call(*n, identity);
    tape_.key.push_back(static_cast<std::uint32_t>(reads.size()));
    for (std::size_t i = tape_.first.back(); i < tape_.operands.size(); ++i)
      tape_.key.push_back(tape_.operands[i].bits());
  }

  // Whether the node that is being added reads a part, or what is put together of parts, which is
  // large enough for a rewrite of the graph.
  bool reads_parts(Kind kind) const {
    const bool takes = kind == Kind::elementwise || kind == Kind::slice || kind == Kind::reshape ||
                       kind == Kind::broadcast || kind == Kind::identity;
    return takes && std::any_of(tape_.operands.begin() + tape_.first.back(), tape_.operands.end(),
                                [&](Operand o) {
                                  if (o.is_constant()) return false;
                                  const Kind in = tape_.kinds[o.index()];
                                  return (in == Kind::concatenate || in == Kind::slice_update ||
                                          (kind == Kind::slice && in == Kind::elementwise)) &&
                                         tape_.nodes[o.index()]->size >= kLeastPart;
                                });
  }

  void add_call(const Node& n, std::uint64_t identity) {
    if (n.primitive->kind() == Kind::pick)
      return tape_.key.push_back(
          static_cast<std::uint32_t>(static_cast<const Pick&>(*n.primitive).index));
    tape_.calls.push_back(n.slot);
    add_number(tape_.key, identity);
  }
  static void add_number(std::vector<std::uint32_t>& to, std::uint64_t number) {
    to.push_back(static_cast<std::uint32_t>(number));
    to.push_back(static_cast<std::uint32_t>(number >> 32));
  }
  // What a call's expansion has of its own is equal to some of these or not.
  void add_numbers() {
    for (const std::int64_t d : extents_.values())
      add_number(tape_.numbers, static_cast<std::uint64_t>(d));
    for (const Node* c : tape_.constants) add_number(tape_.numbers, c->scalar);
  }

  void read(Node* in) {
    if (!in->constant) {
      ++tape_.uses[in->slot];
      return tape_.operands.push_back(Operand::node(in->slot));
    }
    const auto [number, added] = constants_.number({in->dtype, in->scalar});
    if (added) {
      tape_.constants.push_back(in);
      tape_.key.push_back(static_cast<std::uint32_t>(in->dtype) << 8 | 0xfe);
    }
    tape_.operands.push_back(Operand::constant(number));
  }

  bool in_chunks(const Node& reduction) const {
    const auto chunks = limits_(reduction.stream).chunks;
    return chunks && chunks_of(reduction, chunks) > 1;
  }

  std::uint32_t product_kind(const Node& n) const {
    const auto epilogue = limits_(n.stream).epilogue;
    return epilogue ? epilogue(n) : 0;
  }

  // A number for the shape. A new one is described in the key, its extents by numbers, too.
  std::uint32_t shape_of(const Node& n, std::span<const array> reads) {
    // Mostly that of what it reads, or of the leaf before.
    const Node* const other = !reads.empty() ? reads[0].node()
                              : n.slot > 0   ? tape_.nodes[n.slot - 1]
                                             : nullptr;
    if (other && !other->constant && other->shape == n.shape) {
      shape_numbers_.push_back(shape_numbers_[other->slot]);
      return shape_numbers_.back();
    }
    const auto [number, added] = shapes_.number(n.shape);
    if (added) {
      tape_.key.push_back(static_cast<std::uint32_t>(n.shape.size()) << 8 | 0xfd);
      for (const std::int64_t d : n.shape)
        tape_.key.push_back(d < 2 ? static_cast<std::uint32_t>(d) : extents_.number(d).first + 2);
    }
    shape_numbers_.push_back(number);
    return number;
  }

  void find_held(const Arrays& outputs, const NodeSet& kept) {
    for (Slot s = 0; s < tape_.nodes.size(); ++s)
      if (tape_.nodes[s]->refs() > tape_.uses[s] + (!kept.empty() && kept.contains(tape_.nodes[s])))
        tape_.flags[s] |= tape_.is(s, Tape::leaf) ? Tape::kept : Tape::held;
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

  static constexpr Stream kNoStream{{DeviceType::cpu, -1}, -1};
  static constexpr std::int64_t kLeastPart = 1 << 16;  // elements that a rewrite is worth it for
  LimitsOf limits_ = nullptr;
  bool fold_ = false;
  std::uint32_t epoch_ = 0;
  Stream stream_;  // of the node before
  std::vector<Frame> stack_;
  Tape tape_;
  std::vector<std::uint32_t> shape_numbers_;  // of each node
  Numbering<Shape, ShapeHash> shapes_;
  Numbering<std::int64_t, ExtentHash> extents_;  // from 2 on
  Numbering<Scalar, ScalarHash> constants_;
  NodeSet counted_;  // expansions that were read
  std::vector<Inside> insides_;
  NodeSet captured_;                                  // by calls, and not computed yet
  std::unordered_multimap<std::size_t, Slot> twins_;  // parts of expansions, by hash
  std::unordered_map<const Node*, array> merged_;     // kept until all is recorded
};

// Under graph_mutex(), as all recording is.
Recorder& recorder() {
  static Recorder* const it =
      new Recorder;  // arrays may be evaluated after static objects are gone
  return *it;
}

}  // namespace

Tape& record(const Arrays& arrays, LimitsOf limits) {
  Tape& tape = record_folded(arrays, limits);
  if (!tape.is_folded()) return tape;
  Tape folded = tape;
  return record_unfolded(arrays, limits, folded);
}

Tape& record_folded(const Arrays& arrays, LimitsOf limits) {
  Tape& tape = recorder().run(arrays, limits, true);
  if (!tape.is_folded()) return tape;
  std::uint8_t flags = 0;
  for (const std::uint8_t f : tape.flags) flags |= f;
  const bool folds =
      !(flags & Tape::traced) && std::none_of(tape.calls.begin(), tape.calls.end(), [&](Slot s) {
        return tape.is(s, Tape::held) || has_expansion(*tape.nodes[s]);
      });
  if (folds) return tape;
  if (!tape.calls.empty()) recorder().run(arrays, limits, false);
  if (tape.put_together && flow_through(tape, {})) recorder().run(arrays, limits, false);
  tape.put_together = false;
  return tape;
}

Tape& record_unfolded(const Arrays& arrays, LimitsOf limits, Tape& folded) {
  std::vector<Ref<Node>> handles(folded.nodes.size());
  NodeSet kept;
  for (Slot s = 0; s < folded.nodes.size(); ++s)
    if (!std::binary_search(folded.calls.begin(), folded.calls.end(), s)) {
      // A call goes with its results. (Leaves may be under way: they are not looked into.)
      handles[s] = Ref<Node>(folded.nodes[s]);
      kept.insert(folded.nodes[s]);
    }
  Tape& tape = recorder().tape();
  if (!folded.calls.empty()) recorder().run(arrays, limits, false, kept);
  // Of what is around calls the key tells no parameters, unless it is rewritten, too.
  const bool rewritten =
      tape.put_together && flow_through(tape, folded.put_together ? NodeSet() : kept);
  if (rewritten) {
    for (Slot s = static_cast<Slot>(handles.size()); s-- > 0;)
      if (handles[s] && handles[s]->refs() == 1) {
        kept.erase(handles[s].get());
        folded.nodes[s] = nullptr;
        handles[s] = {};
      }
    recorder().run(arrays, limits, false, kept);
  }
  tape.put_together = false;
  tape.rewritten = rewritten;
  return tape;
}

}  // namespace cermet
