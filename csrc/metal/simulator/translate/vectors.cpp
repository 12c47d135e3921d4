// Vectors: their constructors and lists in braces, which OpenCL writes otherwise.
#include "metal/simulator/translate/passes.h"

namespace cermet::metal::simulator {
namespace {

class Vectors {
 public:
  explicit Vectors(Source& source) : s_(source) {}
  // vec<bool, 4> is bool4.
  void bool_vectors() {
    for (std::size_t i = 0; i + 5 < s_.size(); ++i) {
      if (s_.is(i, "vec") && s_.is(i + 1, "<") && s_.is(i + 2, "bool") && s_.is(i + 3, ",") &&
          s_.is(i + 5, ">")) {
        s_.tokens[i].text = "bool" + s_.text(i + 4);
        s_.remove(i + 1, i + 6);
      }
    }
  }

  bool is_vector(std::size_t i) const {
    return s_.is_name(i) && (is_vector_name(s_.text(i)) || vectors_.count(s_.text(i)));
  }
  // The token after the vector type at i, or kNone: float4, metal::float4, vec<T, 4>.
  std::size_t after_vector(std::size_t i) const {
    if (s_.is(i, "metal") && s_.is(i + 1, "::")) i += 2;
    if (is_vector(i)) return i + 1;
    if (!s_.is(i, "vec") || !s_.is(i + 1, "<")) return kNone;
    const std::size_t close = s_.closing_angle(i + 1);
    return close == kNone ? kNone : close + 1;
  }

  void vector_constructors() {
    for (std::size_t i = 0; i + 3 < s_.size(); ++i) {  // the source's own names of vectors
      if (s_.is(i, "using") && s_.is(i + 2, "=") && after_vector(i + 3) != kNone) {
        if (s_.is(after_vector(i + 3), ";")) vectors_.insert(s_.text(i + 1));
      } else if (s_.is(i, "typedef") && after_vector(i + 1) != kNone) {
        vectors_.insert(s_.text(after_vector(i + 1)));
      }
    }
    for (std::size_t i = 0; i < s_.size(); ++i) {
      const std::string_view before = s_.previous_text(i);
      if (before == "operator" || before == "." || before == "->" || before == "::") continue;
      const std::size_t end = after_vector(i);
      if (end == kNone) continue;
      if (s_.is(end, "(") && !s_.is(end + 1, "*") && !s_.is(end + 1, "&")) {  // float4(a, b)
        s_.insert_before(i, "::msl::make<");
        s_.insert_before(end, ">");
      } else if (s_.is(end, "{")) {  // float4{a, b}
        braces_to_call(i, end, i, end);
      } else if (s_.is_name(end) && s_.is(end + 1, "=") &&
                 s_.is(end + 2, "{")) {  // float4 v = {a, b};
        braces_to_call(end + 2, end + 2, i, end);
      } else if (s_.is_name(end) && s_.is(end + 1, "{") && s_.is(s_.closing(end + 1) + 1, ";")) {
        s_.insert_before(end + 1, " = ");  // float4 v{a, b};
        braces_to_call(end + 1, end + 1, i, end);
      } else if (s_.is_name(end) && s_.is(end + 1, "(") && s_.is(s_.closing(end + 1) + 1, ";") &&
                 s_.in_function(i) && !s_.is(end + 2, ")")) {  // float4 v(a, b);
        s_.insert_before(end + 1, " = ::msl::make<" + s_.text_of(i, end) + ">");
      }
    }
  }
  // A list in braces becomes a call of make_list, with the vector type [type, type_end).
  void braces_to_call(std::size_t begin, std::size_t open, std::size_t type, std::size_t type_end) {
    const std::string name = s_.text_of(type, type_end);
    s_.remove(begin, open);
    s_.insert_before(begin, "::msl::make_list<" + name + ">");
    s_.tokens[open].text = '(';
    s_.tokens[s_.match[open]].text = ')';
  }
  // f({a, b}): a list that takes the parameter's type.
  void braced_lists() {
    for (std::size_t i = 1; i < s_.size(); ++i) {
      if (!s_.is(i, "{") || !(s_.is(i - 1, "(") || s_.is(i - 1, ","))) continue;
      if (s_.parent[i] == kNone || !s_.is(s_.parent[i], "(")) continue;
      const std::size_t close = s_.match[i], count = s_.split(i + 1, close).size();
      if (count >= 2 && count <= 4 && (s_.is(close + 1, ",") || s_.is(close + 1, ")")))
        s_.insert_before(i, "::msl::list");
    }
  }

 private:
  Source& s_;
  std::set<std::string> vectors_;
};

}  // namespace

void vectors(Source& source) {
  Vectors vectors(source);
  vectors.bool_vectors();
  vectors.vector_constructors();
  vectors.braced_lists();
}

}  // namespace cermet::metal::simulator
