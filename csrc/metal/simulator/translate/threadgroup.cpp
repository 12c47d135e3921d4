// Variables in threadgroup memory.
#include "metal/simulator/translate/passes.h"

namespace cermet::metal::simulator {
namespace {

// threadgroup T a[n], b;
// becomes   threadgroup auto& a = ::msl::threadgroup_variable<T[n], 1>();   and so on.
class ThreadgroupVariables {
 public:
  ThreadgroupVariables(Source& source, const Kernels& kernels) : s_(source), kernels_(kernels) {}
  void run() {
    static const Set kStarts = {";", "{", "}", "volatile", "static", ":"};
    int id = 0;
    for (std::size_t i = 0; i < s_.size(); ++i) {
      if (!s_.is(i, "threadgroup")) continue;
      std::size_t begin = i;
      if (i > 0 && s_.is(i - 1, ")") && s_.is(s_.match[i - 1] - 1, "alignas"))
        begin = s_.match[i - 1] - 1;
      if (!kStarts.count(s_.previous_text(begin)) && !after_attribute(begin)) continue;
      const std::size_t end = s_.end_of_statement(i);
      if (!s_.is(end, ";") || !declares_variables(i + 1, end)) continue;
      if (s_.is(initial_value(i + 1, end), "=")) {
        s_.error(i, "a threadgroup variable has no initial value: " + s_.bare_text(i, end));
        continue;
      }
      if (!kernels_.contain(i)) {
        s_.error(i, "threadgroup variable outside a kernel: " + s_.bare_text(i, end));
        continue;
      }
      declare_threadgroup(begin, i, end, id);
      i = end;
    }
  }

 private:
  bool after_attribute(std::size_t i) const {
    return std::any_of(s_.attribute_end.begin(), s_.attribute_end.end(),
                       [&](const auto& a) { return a.second == i; });
  }
  // The '=' in [begin, end), or end.
  std::size_t initial_value(std::size_t begin, std::size_t end) const {
    while (begin < end && !s_.is(begin, "=")) ++begin;
    return begin;
  }
  // No pointer, reference or function.
  bool declares_variables(std::size_t begin, std::size_t end) const {
    for (std::size_t i = begin; i < initial_value(begin, end); ++i) {
      if (s_.is(i, "*") || s_.is(i, "&") || s_.is(i, "(")) return false;
      if (s_.is(i, "<") && s_.closing_angle(i) != kNone)
        i = s_.closing_angle(i);
      else if (s_.match[i] != kNone)
        i = s_.match[i];
    }
    return true;
  }
  void declare_threadgroup(std::size_t begin, std::size_t keyword, std::size_t end, int& id) {
    const auto parts = s_.split(keyword + 1, end);
    if (parts.empty()) return;
    // The first declarator's name comes before its array bounds.
    std::size_t name = parts[0].second - 1;
    while (name > keyword + 1 && s_.is(name, "]")) name = s_.match[name] - 1;
    const std::string type = s_.bare_text(keyword + 1, name);
    std::string declarations;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const std::size_t declarator = i == 0 ? name : parts[i].first;
      const std::string whole_type = type + s_.bare_text(declarator + 1, parts[i].second);
      declarations += "threadgroup auto& " + s_.text(declarator) +
                      " = ::msl::threadgroup_variable<" + whole_type + ", " + std::to_string(++id) +
                      ">();";
      sizes_.emplace_back(s_.parent[begin], " + sizeof(" + whole_type + ")");
    }
    std::string bytes = "0";
    for (const auto& [scope, size] : sizes_)
      if (is_inside(begin, scope)) bytes += size;
    declarations += s_.assertion(
        bytes + " <= " + std::to_string(kMaxThreadgroupBytes),
        "threadgroup variables take more than " + std::to_string(kMaxThreadgroupBytes) + " bytes");
    s_.remove(begin, end + 1);
    s_.insert_before(begin, declarations);
  }

  bool is_inside(std::size_t i, std::size_t bracket) const {
    while (i != kNone && i != bracket) i = s_.parent[i];
    return i == bracket;
  }

  Source& s_;
  const Kernels& kernels_;
  std::vector<std::pair<std::size_t, std::string>> sizes_;  // the bracket around each, and its size
};

}  // namespace

void threadgroup_variables(Source& source, const Kernels& kernels) {
  ThreadgroupVariables(source, kernels).run();
}

}  // namespace cermet::metal::simulator
