// Function constants and what is computed from them.
#include "metal/simulator/translate/passes.h"

namespace cermet::metal::simulator {
namespace {

const Set kSpecifiers = {"constant", "const", "static", "constexpr"};

// constant bool x [[function_constant(3)]];   becomes a variable that is set before a launch.
class Constants {
 public:
  explicit Constants(Source& source) : s_(source) {}

  void run() {
    for (std::size_t i = 0; i < s_.size(); ++i) {
      const bool attribute = s_.is_attribute(i) && s_.is(i + 2, "function_constant");
      if (attribute && (s_.is(s_.attribute_end.at(i), ";") || s_.is(s_.attribute_end.at(i), "="))) {
        declare_constant(i);
      } else if (s_.is(i, "is_function_constant_defined") && s_.is(i + 1, "(")) {
        const auto constant = constants_.find(s_.text(i + 2));
        if (constant == constants_.end()) {
          s_.error(i,
                   "is_function_constant_defined of " + s_.text(i + 2) + ", no function constant");
          continue;
        }
        s_.tokens[i].text = "cermet_defined_" + std::to_string(constant->second);
        s_.remove(i + 1, s_.closing(i + 1) + 1);
      } else if (s_.is(i, "=") && parent_is_scope(i) && s_.is_name(i - (i > 0))) {
        derive_constant(i);
      } else if (s_.is_name(i) && derived_.count(s_.text(i)) && s_.previous_text(i) != "." &&
                 s_.previous_text(i) != "->") {
        s_.insert_before(i + 1, "()");
      }
    }
  }

  std::string prologue;
  std::vector<Translation::Constant> described;

 private:
  bool parent_is_scope(std::size_t i) const {  // of the program or a namespace
    for (std::size_t p = s_.parent[i]; p != kNone; p = s_.parent[p])
      if (!s_.is(p, "{") || !(s_.is(p - 1, "namespace") || s_.is(p - 2, "namespace"))) return false;
    return true;
  }

  void declare_constant(std::size_t attribute) {
    const std::size_t begin = s_.start_of_declaration(attribute), name = attribute - 1;
    const std::optional<int> index =
        parse_int(s_.text_of(attribute + 4, s_.closing(attribute + 3)));
    if (attribute == 0 || !s_.is_name(name) || !index) {
      s_.error(attribute, "function_constant needs a name before it and a number in it");
      return;
    }
    std::string type;
    bool constant = false;
    for (std::size_t i = begin; i < name; ++i) {
      constant |= s_.is(i, "constant");
      if (kSpecifiers.count(s_.text(i)))
        s_.remove(i, i + 1);
      else
        type += (type.empty() ? "" : " ") + s_.text(i);
    }
    if (!constant)
      s_.error(name,
               "function constant " + s_.text(name) + " is not in the constant address space");
    const std::string number = std::to_string(*index);
    if (s_.is(s_.attribute_end.at(attribute), "="))
      s_.error(name, "function constant " + s_.text(name) + " has no value of its own");
    for (const auto& [other, other_index] : constants_) {
      if (other_index == *index)
        s_.error(name,
                 s_.text(name) + ": a second function_constant(" + number + "), after " + other);
    }
    s_.insert_before(begin, s_.assertion("metal::is_arithmetic_v<metal::element_t<" + type + ">>",
                                         "a function constant is a scalar or a vector"));
    s_.insert_before(begin, "__global ");
    s_.insert_before(name + 1, " __asm__(\"cermet_constant_" + number +
                                   "\") __attribute__((visibility(\"default\")))");
    constants_[s_.text(name)] = *index;
    if (defined_.insert(*index).second) {
      prologue += "MSL_EXPORT __global bool cermet_defined_" + number + "; ";
      described.push_back({s_.text(name), type, *index});
    }
  }

  // constant int n = x ? 4 : 8;   of a function constant x: becomes a function n().
  void derive_constant(std::size_t equals) {
    const std::size_t name = equals - 1, begin = s_.start_of_declaration(name);
    const std::size_t end = s_.end_of_statement(equals);
    bool constant = false, dependent = false;
    for (std::size_t i = begin; i < name; ++i) constant |= s_.is(i, "constant");
    for (std::size_t i = equals + 1; i < end; ++i)
      dependent |= constants_.count(s_.text(i)) || derived_.count(s_.text(i));
    if (!constant || !dependent || !s_.is(end, ";")) return;
    for (std::size_t i = begin; i < name; ++i)
      if (kSpecifiers.count(s_.text(i))) s_.remove(i, i + 1);
    s_.insert_before(begin, "MSL_INLINE ");
    s_.tokens[equals].text = "() { return ";
    s_.insert_before(end + 1, " }");
    derived_.insert(s_.text(name));
  }

  Source& s_;
  std::map<std::string, int> constants_;
  std::set<int> defined_;
  std::set<std::string> derived_;
};

}  // namespace

std::string function_constants(Source& source, std::vector<Translation::Constant>& described) {
  Constants constants(source);
  constants.run();
  described = std::move(constants.described);
  return constants.prologue;
}

}  // namespace cermet::metal::simulator
