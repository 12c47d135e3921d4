// The graph of a traced function, as a list: what every transform works on.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "graph/primitives.h"
#include "graph/tracing.h"

namespace cermet {

// The nodes through which outputs depend on the inputs of a trace, each after those it depends on.
// Only nodes of the trace are read: others may be under evaluation by another thread.
class Walk {
 public:
  // What is followed, for compile, vmap, jvp and vjp. A composite without their rules is followed
  // through its expansion; compile needs none.
  enum class Follow : std::uint8_t { whole, all, forward, backward };
  Walk(const Arrays& outputs, const Arrays& inputs, const Tracing& trace, Follow follow);

  const std::vector<array>& nodes() const { return nodes_; }
  // Inputs have the slots 0, 1, ..., then come the nodes.
  std::size_t slot_count() const { return inputs_ + nodes_.size(); }
  std::size_t slot_of_node(std::size_t i) const { return inputs_ + i; }
  // Absent for an array that does not depend on the inputs.
  std::optional<std::size_t> slot(const array& a) const;

 private:
  static constexpr std::size_t kIndependent = static_cast<std::size_t>(-1);
  std::size_t inputs_;
  std::vector<array> nodes_;
  std::unordered_map<const Node*, std::size_t> slots_;
};

// All results of the node that `pick` is one result of.
Arrays all_results(const array& pick);

// "1 array", "2 arrays", for messages.
std::string count(std::size_t n, std::string_view what);

}  // namespace cermet
