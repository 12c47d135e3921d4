// The order of steps: depth first from what is held, so that intermediates are used soon after they
// are made; but what frees more memory than it takes runs as soon as it can. So in a backward pass
// a weight's gradient does not wait, with what it is made of, until that of the input is there.
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "plan/cluster.h"

namespace cermet {
namespace {

// For each of n things a list, in one piece of memory.
class Lists {
 public:
  Lists(std::size_t n, const std::vector<std::pair<int, int>>& pairs) : first_(n + 1) {
    for (const auto& [owner, value] : pairs) ++first_[static_cast<std::size_t>(owner) + 1];
    for (std::size_t i = 0; i < n; ++i) first_[i + 1] += first_[i];
    std::vector<std::size_t> next(first_.begin(), first_.end() - 1);
    values_.resize(pairs.size());
    for (const auto& [owner, value] : pairs)
      values_[next[static_cast<std::size_t>(owner)]++] = value;
  }
  std::span<const int> operator[](int owner) const {
    const auto i = static_cast<std::size_t>(owner);
    return {values_.data() + first_[i], values_.data() + first_[i + 1]};
  }

 private:
  std::vector<std::size_t> first_;
  std::vector<int> values_;
};

class Order {
 public:
  Order(const Tape& tape, const Clusters& all) : tape_(tape), all_(all) {
    const std::size_t n = all.clusters.size();
    waits_for_.resize(n);
    takes_.resize(n);
    ran_.resize(n);
    memory_.resize(tape.nodes.size());
    find_memory();
    find_edges();
  }

  std::vector<int> run() {
    for (Slot s = 0; s < memory_.size(); ++s)
      if (tape_.is(s, Tape::held)) visit(all_.items[s].cluster);
    return std::move(out_);
  }

 private:
  // The memory that values lie in, by the slot that it is made for; views share that of what they
  // are of.
  struct Memory {
    Slot owner = 0;
    bool dies = false;     // when nobody on the tape reads it any more
    int readers = 0;       // clusters that did not run yet, views aside
    std::int64_t sum = 0;  // of their numbers: which one is left at last
  };
  struct Frame {
    int cluster;
    std::size_t member, input;
  };

  static std::size_t at(int i) { return static_cast<std::size_t>(i); }
  bool is_view_at(Slot s) const {
    return all_.items[s].role == Role::opaque && is_view(tape_.kinds[s]) &&
           tape_.kinds[s] != Kind::pick && !tape_.inputs(s)[0].is_constant();
  }
  bool is_view_cluster(int c) const {
    const auto& members = all_.clusters[at(c)].members;
    return members.size() == 1 && is_view_at(members[0]);
  }
  int producer(Operand o) const {
    return o.is_constant() || all_.items[o.index()].role == Role::leaf
               ? kNone
               : all_.items[o.index()].cluster;
  }
  std::int64_t bytes(Slot s) const {
    return static_cast<std::int64_t>(tape_.nodes[s]->size) *
           static_cast<std::int64_t>(size_of(tape_.nodes[s]->dtype));
  }

  void find_memory() {
    for (Slot s = 0; s < memory_.size(); ++s) {
      const Item& i = all_.items[s];
      const bool held = tape_.is(s, Tape::held);
      if (is_view_at(s)) {
        memory_[s].owner = memory_[tape_.inputs(s)[0].index()].owner;
        if (held) memory_[memory_[s].owner].dies = false;
      } else {
        memory_[s] = {s, i.role != Role::leaf && !held};
        if (i.role != Role::leaf && all_.is_stored(s)) takes_[at(i.cluster)] += bytes(s);
      }
    }
  }

  void find_edges() {
    const std::size_t n = waits_for_.size();
    std::vector<std::pair<int, int>> readers, reads;
    std::vector<int> edge_of(n, kNone), read_by(memory_.size(), kNone);
    for (int c = 0; c < static_cast<int>(n); ++c)
      for (const Slot s : all_.clusters[at(c)].members)
        for (const Operand in : tape_.inputs(s)) {
          const int from = producer(in);
          if (from == kNone || from == c) continue;
          if (std::exchange(edge_of[at(from)], c) != c) {
            readers.emplace_back(from, c);
            ++waits_for_[at(c)];
          }
          const Slot owner = memory_[in.index()].owner;
          if (is_view_cluster(c) || std::exchange(read_by[owner], c) == c) continue;
          reads.emplace_back(c, static_cast<int>(owner));
          ++memory_[owner].readers;
          memory_[owner].sum += c;
        }
    readers_ = Lists(n, readers);
    reads_ = Lists(n, reads);
  }

  // Runs a cluster after all that it waits for.
  void visit(int root) {
    stack_.push_back({root, 0, 0});
    while (!stack_.empty()) {
      Frame& f = stack_.back();
      const auto& members = all_.clusters[at(f.cluster)].members;
      if (ran_[at(f.cluster)]) {
        stack_.pop_back();
      } else if (f.member == members.size()) {
        const int c = f.cluster;
        stack_.pop_back();
        add(c);
      } else if (const auto inputs = tape_.inputs(members[members.size() - 1 - f.member]);
                 f.input == inputs.size()) {
        ++f.member;
        f.input = 0;
      } else if (const int c = producer(inputs[f.input++]);
                 c != kNone && !ran_[at(c)] && c != f.cluster) {
        stack_.push_back({c, 0, 0});
      }
    }
  }

  void add(int c) {
    ran_[at(c)] = true;
    out_.push_back(c);
    if (is_view_cluster(c)) return;  // it was there when its input was
    for (const int owner : reads_[c]) {
      Memory& m = memory_[at(owner)];
      m.sum -= c;
      if (--m.readers == 1) offer(static_cast<int>(m.sum));
    }
    pass_on(c);
  }
  // Tells the readers of a cluster that they wait for one less.
  void pass_on(int from) {
    there_.assign(1, from);
    while (!there_.empty()) {
      const int c = there_.back();
      there_.pop_back();
      for (const int reader : readers_[c])
        if (--waits_for_[at(reader)] == 0) {
          if (is_view_cluster(reader))
            there_.push_back(reader);
          else
            offer(reader);
        }
    }
  }
  // Has a cluster run next that can and that frees more than it takes.
  void offer(int c) {
    if (ran_[at(c)] || waits_for_[at(c)] != 0) return;
    std::int64_t freed = 0;
    for (const int owner : reads_[c])
      if (const Memory& m = memory_[at(owner)]; m.dies && m.readers == 1)
        freed += bytes(static_cast<Slot>(owner));
    if (freed > takes_[at(c)]) stack_.push_back({c, 0, 0});
  }

  const Tape& tape_;
  const Clusters& all_;
  std::vector<Memory> memory_;       // by slot
  std::vector<int> waits_for_;       // by cluster: how many others
  std::vector<std::int64_t> takes_;  // by cluster: bytes
  std::vector<char> ran_;
  Lists readers_{0, {}}, reads_{0, {}};
  std::vector<Frame> stack_;
  std::vector<int> there_, out_;
};

}  // namespace

std::vector<int> Clusters::order() const { return Order(tape_, *this).run(); }

}  // namespace cermet
