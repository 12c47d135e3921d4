// Vectors: their constructors, casts and lists in braces, which OpenCL writes otherwise. In a
// template a type may turn out to be a vector.
#include "metal/simulator/translate/passes.h"

namespace cermet::metal::simulator {
namespace {

class Vectors {
 public:
  explicit Vectors(Source& source) : s_(source) {}

  // vec<bool, 4> is bool4, and vec<bool, N> what that is an alias of.
  void bool_vectors() {
    for (std::size_t i = 0; i + 5 < s_.size(); ++i) {
      if (!s_.is(i, "vec") || !s_.is(i + 1, "<") || !s_.is(i + 2, "bool") || !s_.is(i + 3, ","))
        continue;
      s_.tokens[i].text = s_.previous_text(i) == "::" ? "bool_vector" : "::metal::bool_vector";
      s_.remove(i + 2, i + 4);
    }
  }

  // The source's own names of types.
  void find_names() {
    for (std::size_t i = 0; i + 3 < s_.size(); ++i) {
      if (s_.is(i, "template") && s_.is(i + 1, "<")) {
        template_parameters(i);
      } else if (s_.is(i, "using") && s_.is(i + 2, "=")) {
        alias(i + 1, i + 3, s_.end_of_statement(i));
      } else if (s_.is(i, "typedef")) {
        const std::size_t end = s_.end_of_statement(i);
        if (end > i + 2) alias(end - 1, i + 1, end - 1);
      }
    }
  }

  void constructors() {
    for (std::size_t i = 0; i < s_.size(); ++i) {
      static const Set kBefore = {"operator", ".", "->", "::", "~", "class", "struct", "typename"};
      if (kBefore.count(s_.previous_text(i))) continue;
      const std::size_t vector = after_vector(i), end = vector == kNone ? after_named(i) : vector;
      if (end == kNone) continue;
      const std::string type = s_.text_of(i, end);
      const std::string call = vector == kNone ? "::msl::construct" : "::msl::make";
      const std::size_t close = s_.is(end, "(") ? s_.closing(end) : kNone;
      if (close != kNone && !declares_pointer(end, close)) {  // float4(a, b)
        s_.insert_before(i, call + "<");
        s_.insert_before(end, ">");
      } else if (vector != kNone && s_.is(end, "{")) {  // float4{a, b}
        to_call(i, end, type);
      } else if (s_.is_name(end) && s_.is(end + 1, "{") && s_.is(s_.closing(end + 1) + 1, ";")) {
        s_.insert_before(end + 1, " = ");  // float4 v{a, b};
        to_call(end + 1, end + 1, type);
      } else if (vector != kNone && s_.is_name(end) && s_.is(end + 1, "(") &&
                 s_.is(s_.closing(end + 1) + 1, ";") && s_.in_function(i) &&
                 !s_.is(end + 2, ")")) {  // float4 v(a, b);
        s_.insert_before(end + 1, " = ::msl::make<" + type + ">");
      } else if (s_.is_name(end)) {
        initial_lists(end, type);
      }
    }
  }

  // f(T a[4]) of a template's parameter T: the array is the thread's, which T says nothing of.
  void array_parameters() {
    for (std::size_t i = 1; i + 2 < s_.size(); ++i) {
      const Scope* const scope = scope_of(i);
      const bool first = s_.is(i - 1, "(") || s_.is(i - 1, ",") || s_.is(i - 1, "const");
      if (scope != nullptr && scope->parameter && first && s_.is_name(i + 1) && s_.is(i + 2, "[") &&
          s_.parent[i] != kNone && s_.is(s_.parent[i], "("))
        s_.insert_before(i, "thread ");
    }
  }

  // (float4)x
  void casts() {
    for (std::size_t i = 0; i < s_.size(); ++i) {
      const std::size_t close = s_.is(i, "(") ? s_.closing(i) : kNone;
      if (close == kNone || !is_cast(i, false)) continue;
      // A literal of OpenCL, (float2)(1, 2), is left for a checker to find.
      if (s_.is(close + 1, "(") && s_.split(close + 2, s_.closing(close + 1)).size() > 1) continue;
      s_.tokens[i].text = "::msl::cast<";
      s_.tokens[close].text = ">(";
      s_.insert_before(after_operand(close + 1), ")");
    }
  }

  // f({a, b}) and v = {a, b}: a list that takes the type it is given to.
  void braced_lists() {
    for (std::size_t i = 1; i < s_.size(); ++i) {
      if (!s_.is(i, "{")) continue;
      const std::size_t close = s_.match[i], count = s_.split(i + 1, close).size();
      const bool argument = (s_.is(i - 1, "(") || s_.is(i - 1, ",")) && s_.parent[i] != kNone &&
                            s_.is(s_.parent[i], "(") &&
                            (s_.is(close + 1, ",") || s_.is(close + 1, ")"));
      const bool assigned = s_.is(i - 1, "=") && s_.is(close + 1, ";") && s_.in_function(i) &&
                            !declared_before(i - 1);
      if ((argument || assigned) && count >= 2 && count <= 4) s_.insert_before(i, "::msl::list");
    }
  }

 private:
  struct Scope {
    std::size_t begin, end;
    bool vector, parameter;
  };

  void template_parameters(std::size_t i) {
    const std::size_t close = s_.closing_angle(i + 1);
    if (close == kNone) return;
    // Up to the end of the body, or of a declaration without one.
    std::size_t end = close;
    while (end < s_.size() && !s_.is(end, ";") && !s_.is(end, "{"))
      end = s_.match[end] != kNone && s_.match[end] > end ? s_.match[end] + 1 : end + 1;
    if (s_.is(end, "{")) end = s_.closing(end);
    for (std::size_t j = i + 2; j < close; ++j)
      if ((s_.is(j, "typename") || s_.is(j, "class")) && s_.is_name(j + 1) &&
          (s_.is(j + 2, ",") || s_.is(j + 2, ">") || s_.is(j + 2, "=")))
        names_[s_.text(j + 1)].push_back({close, end, false, true});
  }

  // A name of [begin, end), from there to the end of its block.
  void alias(std::size_t name, std::size_t begin, std::size_t end) {
    static const Set kOthers = {"*", "&", "(", "{", "[", "struct", "enum", "union", "class"};
    for (std::size_t i = begin; i < end; ++i)
      if (kOthers.count(s_.text(i))) return;
    if (!s_.is_name(name) || kScalars.count(s_.text(begin))) return;
    const std::size_t block = s_.parent[name];
    names_[s_.text(name)].push_back(
        {name, block == kNone ? s_.size() : s_.closing(block), after_vector(begin) == end, false});
  }

  const Scope* scope_of(std::size_t i) const {
    const auto found = s_.is_name(i) ? names_.find(s_.text(i)) : names_.end();
    if (found == names_.end()) return nullptr;
    for (auto scope = found->second.rbegin(); scope != found->second.rend(); ++scope)
      if (scope->begin < i && i < scope->end) return &*scope;
    return nullptr;
  }

  // The token after the vector type at i, or kNone: float4, metal::float4, vec<T, 4>.
  std::size_t after_vector(std::size_t i) const {
    if (s_.is(i, "metal") && s_.is(i + 1, "::")) i += 2;
    const Scope* const scope = scope_of(i);
    if (scope != nullptr ? scope->vector : s_.is_name(i) && is_vector_name(s_.text(i)))
      return s_.is(i + 1, "<") ? kNone : i + 1;
    static const Set kTemplates = {"vec", "bool_vector", "::metal::bool_vector"};
    if (!kTemplates.count(s_.text(i)) || !s_.is(i + 1, "<")) return kNone;
    const std::size_t close = s_.closing_angle(i + 1);
    return close == kNone ? kNone : close + 1;
  }
  // The same of a type that may be a vector: a template's parameter or an alias.
  std::size_t after_named(std::size_t i) const {
    if (scope_of(i) == nullptr) return kNone;
    if (!s_.is(i + 1, "<")) return i + 1;
    const std::size_t close = s_.closing_angle(i + 1);
    return close == kNone ? kNone : close + 1;
  }

  // float4 (*p)[2], float4 (*f)(...), but not float4(*p)
  bool declares_pointer(std::size_t open, std::size_t close) const {
    return (s_.is(open + 1, "*") || s_.is(open + 1, "&")) &&
           (s_.is(close + 1, "(") || s_.is(close + 1, "[") || s_.is(open + 2, ")"));
  }

  // a = {1, 2}, b = {3, 4};  from the first name on
  void initial_lists(std::size_t name, const std::string& type) {
    while (s_.is_name(name)) {
      std::size_t next = name + 1;
      if (s_.is(next, "=") && s_.is(next + 1, "{")) {
        next = s_.closing(next + 1) + 1;
        to_call(name + 2, name + 2, type);
      } else {
        while (next < s_.size() && !s_.is(next, ",") && !s_.is(next, ";") && !s_.is_closing(next))
          next = s_.match[next] != kNone ? s_.match[next] + 1 : next + 1;
      }
      if (!s_.is(next, ",") || !s_.in_function(name) || s_.is(s_.parent[name], "(")) return;
      name = next + 1;
    }
  }

  // A list in braces, with its type before it, becomes a call of make_list.
  void to_call(std::size_t begin, std::size_t open, const std::string& type) {
    s_.remove(begin, open);
    s_.insert_before(begin, "::msl::make_list<" + type + ">");
    s_.tokens[open].text = '(';
    s_.tokens[s_.match[open]].text = ')';
  }

  // Whether what is before the '=' is a declaration, not an expression.
  bool declared_before(std::size_t equals) const {
    std::size_t i = equals;
    while (i > 0) {
      const std::size_t before = s_.previous(i);
      if (before == kNone) return false;
      if (s_.is(before, "]") || s_.is(before, ")")) {
        i = s_.match[before];
      } else if (s_.is_name(before) && !s_.is_name(i)) {
        i = before;
      } else if (s_.is(before, ".") || s_.is(before, "->")) {
        i = before;
      } else {
        return s_.is_name(before) || s_.is(before, ">") || s_.is(before, "*") ||
               s_.is(before, "&") || s_.is(before, ",");
      }
    }
    return false;
  }

  // Whether the parentheses at i are a cast: of any type, or to what is or may be a vector.
  bool is_cast(std::size_t i, bool any) const {
    const std::size_t close = s_.closing(i), type = s_.is(i + 1, "const") ? i + 2 : i + 1;
    const bool known = after_vector(type) == close || after_named(type) == close;
    const bool small = s_.is(type, "half") || s_.is(type, "bfloat");
    const bool scalar = (any || small) && kScalars.count(s_.text(type)) && type + 1 == close;
    if (!known && !scalar) return false;
    static const Set kStatements = {"return", "else", "case", "do"};
    static const Set kQualifiers = {"const", "thread", "device", "threadgroup", "constant"};
    static const Set kUnary = {"*", "&", "-", "+", "!", "~", "("};
    const std::size_t before = s_.previous(i), after = close + 1;
    const bool operand = (s_.is_name(after) && !kQualifiers.count(s_.text(after))) ||
                         s_.at(after).kind == Token::Kind::number;
    if (before == kNone || (s_.is_name(before) && !kStatements.count(s_.text(before))))
      return false;
    if (s_.is(before, ")") || s_.is(before, "]") || s_.is(before, ">")) return operand;
    return operand || kUnary.count(s_.text(after));
  }

  // The token after the operand of a cast that begins at i.
  std::size_t after_operand(std::size_t i) const {
    static const Set kPrefix = {"+", "-", "!", "~", "*", "&", "++", "--"};
    while (kPrefix.count(s_.text(i)) || (s_.is(i, "(") && is_cast(i, true)))
      i = s_.is(i, "(") ? s_.closing(i) + 1 : i + 1;
    i = s_.is(i, "(") ? s_.closing(i) + 1 : i + 1;
    for (;;) {
      if (s_.is(i, "(") || s_.is(i, "[") || (s_.is(i, "{") && s_.is_name(i - 1))) {
        i = s_.closing(i) + 1;
      } else if (s_.is(i, ".") || s_.is(i, "->") || s_.is(i, "::")) {
        i += 2;
      } else if (s_.is(i, "++") || s_.is(i, "--")) {
        ++i;
      } else if (s_.is(i, "<") && s_.is_name(i - 1)) {
        const std::size_t close = s_.closing_angle(i);
        if (close == kNone || !(s_.is(close + 1, "(") || s_.is(close + 1, "::"))) return i;
        i = close + 1;
      } else {
        return i;
      }
    }
  }

  Source& s_;
  std::map<std::string, std::vector<Scope>> names_;
};

}  // namespace

void vectors(Source& source) {
  Vectors vectors(source);
  vectors.bool_vectors();
  vectors.find_names();
  vectors.array_parameters();
  vectors.casts();
  vectors.constructors();
  vectors.braced_lists();
}

}  // namespace cermet::metal::simulator
