// The graph of arrays as text for Graphviz.
#include <unordered_map>
#include <unordered_set>

#include "export/format.h"
#include "graph/primitive.h"

namespace cermet {
namespace {

std::string quoted(const std::string& name) {
  std::string text = "\"";
  for (const char c : name) {
    if (c == '"' || c == '\\') text += '\\';
    text += c;
  }
  return text + "\"";
}

// A primitive's name as MLX writes it: `FloorDivide` of floor_divide.
std::string capitalised(std::string_view name) {
  std::string text;
  bool first = true;
  for (const char c : name) {
    if (c != '_') text += first && c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    first = c == '_';
  }
  return text;
}

// Arrays are their names, primitives are boxes.
class Dot {
 public:
  Dot(const Arrays& outputs, const NamedArrays& names) {
    for (const auto& [name, a] : names) names_.emplace(a.node(), quoted(name));
    for (const array& out : outputs) visit(out);
    for (const auto& [name, a] : names) visit(a);
    for (const auto& [a, lazy] : order_) draw(a, lazy);
  }
  std::string text() const { return "digraph {\n" + text_ + "}\n"; }

 private:
  // A depth-first search with a stack of its own, since graphs are deep.
  void visit(const array& output) {
    struct Visit {
      array a;
      std::size_t next;
    };
    std::vector<Visit> stack;
    const auto enter = [&](const array& a) {
      if (done_.insert(a.node()).second) stack.push_back({a, 0});
    };
    enter(output);
    while (!stack.empty()) {
      auto& [a, next] = stack.back();
      const bool lazy = is_lazy(a);
      if (lazy && next < a.inputs().size()) {
        const array in = a.inputs()[next++];
        used_.insert(in.node());
        enter(in);
        continue;
      }
      order_.emplace_back(a, lazy);
      stack.pop_back();
    }
  }
  static bool is_lazy(const array& a) {
    const Node& n = *a.node();
    return !n.constant && n.status.load(std::memory_order_acquire) == Status::lazy;
  }
  void draw(const array& a, bool lazy) {
    const bool several = lazy && has_several_results(a.primitive()->kind());
    if (lazy && a.primitive()->kind() == Kind::pick) {  // an arrow from the node that has it
      show(a);
      const auto of = boxes_.find(a.inputs()[0].node());
      const std::string from = of != boxes_.end() ? of->second : name_of(a.inputs()[0]);
      text_ += from + " -> " + name_of(a) + "\n";
      return;
    }
    if (!lazy) return show(a, "source");
    const std::string box = std::to_string(boxes_.size());
    boxes_.emplace(a.node(), box);
    text_ += "{ " + box + " [label=" + quoted(capitalised(a.primitive()->name())) +
             ", shape=rectangle]; }\n";
    for (const array& in : a.inputs()) text_ += name_of(in) + " -> " + box + "\n";
    if (several) return;
    show(a);
    text_ += box + " -> " + name_of(a) + "\n";
  }
  void show(const array& a, const char* rank = nullptr) {
    if (!rank && !used_.contains(a.node())) rank = "sink";
    text_ +=
        "{ " + (rank ? std::string("rank=") + rank + "; " : std::string()) + name_of(a) + "; }\n";
  }
  const std::string& name_of(const array& a) {
    const auto found = names_.find(a.node());
    if (found != names_.end()) return found->second;
    return names_.emplace(a.node(), quoted(exported::made_up_name(made_up_++))).first->second;
  }

  std::unordered_map<const Node*, std::string> names_, boxes_;
  std::unordered_set<const Node*> done_, used_;
  std::vector<std::pair<array, bool>> order_;  // and whether it is lazy
  std::size_t made_up_ = 0;
  std::string text_;
};

}  // namespace

std::string to_dot(const Arrays& outputs, const NamedArrays& names) {
  return Dot(outputs, names).text();
}

}  // namespace cermet
