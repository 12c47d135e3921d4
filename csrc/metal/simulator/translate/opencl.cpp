// What OpenCL writes otherwise than Metal, or is stricter about: words, literals, casts, copies of
// structs, address spaces.
#include "metal/simulator/translate/passes.h"

namespace cermet::metal::simulator {
namespace {

// Words of OpenCL that are plain names in Metal.
const Set kRenamed = {"local",      "global",     "generic", "pipe",    "kernel_exec", "read_only",
                      "write_only", "read_write", "queue_t", "event_t", "sampler_t"};

// A parameter `const thread float& x` takes no temporary: by value it does.
void scalar_reference(Source& s, std::size_t i) {
  std::size_t space = kNone;
  bool is_const = false, scalar = false;
  for (std::size_t j = i - 3; j < i; ++j) {
    if (s.is(j, "thread")) space = j;
    is_const |= s.is(j, "const");
    scalar |= kScalars.count(s.text(j)) != 0;
  }
  if (space == kNone || !is_const || !scalar) return;
  s.remove(space, space + 1);
  s.remove(i, i + 1);
}

bool is_class_body(const Source& s, std::size_t open) {
  if (!s.is(open, "{")) return false;
  for (std::size_t i = s.start_of_declaration(open); i < open; ++i) {
    if (s.is(i, "<") && s.closing_angle(i) != kNone) i = s.closing_angle(i);
    if (s.is(i, "(")) return false;
    if (s.is(i, "struct") || s.is(i, "class") || s.is(i, "union")) return true;
  }
  return false;
}

bool is_attribute_part(const Source& s, std::size_t i) {
  const auto it = s.attribute_end.upper_bound(i);
  return it != s.attribute_end.begin() && std::prev(it)->second > i;
}

bool declares_method(const Source& s, std::size_t begin, std::size_t open) {
  static const Set kOthers = {"static", "friend", "using", "typedef", "static_assert", "="};
  static const Set kWords = {"alignas",  "decltype", "sizeof",
                             "explicit", "noexcept", "__attribute__"};
  for (std::size_t i = begin; i < open; ++i) {
    const bool after_operator = i > 0 && s.is(i - 1, "operator");
    if (kOthers.count(s.text(i)) && !after_operator) return false;
  }
  if (kWords.count(s.text(open - 1))) return false;
  if (open >= 2 && (s.is(open - 2, "operator") || s.is(open - 1, "operator"))) return true;
  for (std::size_t i = begin; i < open; ++i)
    if (s.is(i, "operator")) return true;  // of two tokens, or a conversion
  return s.is_name(open - 1) && !s.is(open - 1, "constructor");
}

bool is_digit_or_dot(char c) { return (c >= '0' && c <= '9') || c == '.'; }
bool is_suffix(char c) { return c == 'f' || c == 'F' || c == 'h' || c == 'H'; }

}  // namespace

void casts(Source& s) {
  for (std::size_t i = 0; i < s.size(); ++i) {
    const std::string_view before = s.previous_text(i);
    if (s.is(i, "static_cast") && s.is(i + 1, "<") && s.closing_angle(i + 1) != kNone) {
      const std::size_t close = s.closing_angle(i + 1);
      bool value = true;
      for (std::size_t j = i + 2; j < close; ++j)
        value &= !s.is(j, "*") && !s.is(j, "&") && !s.is(j, "void");
      if (value) s.tokens[i].text = "::msl::cast";
    } else if ((s.is(i, "bfloat") || s.is(i, "half")) && s.is(i + 1, "(") && !s.is(i + 2, "*") &&
               !s.is(i + 2, "&") && before != "operator") {
      s.tokens[i].text = "::msl::cast<" + s.text(i) + ">";
    }
  }
}

// S a = b;   of a struct S, where b may be in constant memory.
void struct_copies(Source& s) {
  Set names;
  for (std::size_t i = 0; i + 1 < s.size(); ++i)
    if (s.is(i, "struct") && s.is_name(i + 1) && s.previous_text(i) != ">")
      names.insert(s.text(i + 1));
  static const Set kStarts = {";", "{", "}", "const"};
  for (std::size_t i = 0; i + 3 < s.size(); ++i) {
    if (!s.is_name(i) || !names.count(s.text(i)) || !s.is_name(i + 1) || !s.is(i + 2, "=") ||
        s.is(i + 3, "{") || !kStarts.count(s.previous_text(i)) || !s.in_function(i))
      continue;
    const std::size_t end = s.end_of_statement(i + 2);
    if (s.split(i + 3, end).size() != 1) continue;
    s.insert_before(i + 3, "::msl::copy<" + s.text(i) + ">(");
    s.insert_before(end, ")");
  }
}

// A struct in constant memory, by its name, where its value is taken: OpenCL has no copy out of it.
void constant_structs(Source& s) {
  static const Set kSpecifiers = {"constexpr", "static", "const", "inline"};
  Set structs, referred;
  std::map<std::string_view, std::string> constants;  // the type of each
  for (std::size_t i = 0; i + 1 < s.size(); ++i)
    if ((s.is(i, "struct") || s.is(i, "class")) && s.is_name(i + 1) && s.previous_text(i) != ">")
      structs.insert(s.text(i + 1));
  for (std::size_t i = 0; i + 3 < s.size(); ++i) {
    if (!s.is(i, "constant")) continue;
    std::size_t type = i + 1;
    while (kSpecifiers.count(s.text(type))) ++type;
    if (!structs.count(s.text(type))) continue;
    if (s.is_name(type + 1) && (s.is(type + 2, "=") || s.is(type + 2, "{")))
      constants.emplace(s.text(type + 1), s.text(type));
    else if (s.is(type + 1, "&") && !s.is_attribute(type + 3))
      referred.insert(s.text(type));  // a function may ask for it where it is
  }
  static const Set kPlaces = {".", "->", "[", "=", "{"}, kAddress = {".", "->", "&"};
  for (std::size_t i = 0; i < s.size(); ++i) {
    const auto found = s.is_name(i) ? constants.find(s.text(i)) : constants.end();
    if (found == constants.end() || kPlaces.count(s.text(i + 1))) continue;
    std::size_t begin = i;
    while (begin > 1 && s.is(begin - 1, "::") && s.is_name(begin - 2)) begin -= 2;
    const std::size_t before = s.previous(begin);
    if (before == kNone || kAddress.count(s.text(before)) ||
        (s.is_name(before) && !s.is(before, "return")))
      continue;
    const bool argument = (s.is(before, "(") || s.is(before, ",")) && s.is_name(before - 1);
    if (argument && referred.count(found->second)) continue;
    s.insert_before(begin, "::msl::copy<" + found->second + ">(");
    s.insert_before(i + 1, ")");
  }
}

// template <void (*f)(int)>: clang takes no pointer to a function here, but a reference.
void function_arguments(Source& s) {
  for (std::size_t i = 0; i + 1 < s.size(); ++i) {
    const std::size_t close = s.is(i, "template") ? s.closing_angle(i + 1) : kNone;
    if (close == kNone || !s.is(i + 1, "<")) continue;
    for (std::size_t j = i + 2; j < close; ++j)
      if (s.is(j, "(") && s.is(j + 1, "*") && s.is(s.closing(j) + 1, "("))
        s.tokens[j + 1].text = "&";
  }
}

namespace {

// Whether the word is of a method: f() const thread {
bool is_method_space(const Source& s, std::size_t i) {
  static const Set kFollows = {"{", ";", ":", "="};
  const std::string_view before = s.previous_text(i);
  return (before == ")" || before == "const") && kFollows.count(s.text(i + 1)) &&
         s.parent[i] != kNone && is_class_body(s, s.parent[i]);
}

// Whether a class has methods of objects in other memory than a thread's.
bool has_other_spaces(const Source& s, std::size_t body) {
  for (std::size_t i = body + 1; i < s.closing(body); ++i)
    if (s.parent[i] == body && !s.is(i, "thread") &&
        (kSpaces.count(s.text(i)) || s.is(i, "__constant")) && is_method_space(s, i))
      return true;
  return false;
}

}  // namespace

void address_spaces(Source& s) {
  Set classes;
  for (std::size_t i = 0; i + 1 < s.size(); ++i)
    if (s.is(i, "struct") || s.is(i, "class")) classes.insert(s.text(i + 1));
  for (std::size_t i = 0; i < s.size(); ++i) {
    const std::string_view before = s.previous_text(i);
    if (s.is(i, "constant") &&
        (before == ")" || (before == "const" && i > 1 && s.is(i - 2, ")"))) &&
        (s.is(i + 1, "{") || s.is(i + 1, ":") || s.is(i + 1, ";") || s.is(i + 1, "="))) {
      s.tokens[i].text = "__constant";  // of a method; elsewhere it implies const
    } else if (s.is(i, "(") && i > 0 && s.is_name(i - 1) && classes.count(s.text(i - 1)) &&
               s.is(s.match[i] + 1, "thread") && s.previous_text(i - 1) != "." &&
               s.previous_text(i - 1) != "->") {
      s.remove(s.match[i] + 1, s.match[i] + 2);  // a constructor with it cannot make temporaries
    } else if (!s.strict && s.is(i, "thread") && is_method_space(s, i) &&
               !has_other_spaces(s, s.parent[i])) {
      s.remove(i, i + 1);  // a temporary has no such method
    } else if (s.is(i, "&") && i >= 3 && s.parent[i] != kNone && s.is(s.parent[i], "(")) {
      scalar_reference(s, i);
    }
  }
}

void qualify_methods(Source& s) {
  for (std::size_t i = 1; i < s.size(); ++i) {
    const std::size_t body = s.parent[i];
    if (!s.is(i, "(") || body == kNone || !is_class_body(s, body) || is_attribute_part(s, i))
      continue;
    const std::size_t begin = s.start_of_declaration(i);
    if (!declares_method(s, begin, i)) continue;
    std::size_t after = s.match[i] + 1;
    if (s.is(i - 1, "operator")) after = s.match[after] + 1;  // operator()(...)
    bool qualified = false;
    for (; s.is(after, "const") || s.is(after, "volatile") || kSpaces.count(s.text(after)) ||
           s.is(after, "__constant");
         ++after) {
      qualified |= !s.is(after, "const") && !s.is(after, "volatile");
    }
    static const Set kFollows = {"{", ";", ":", "=", "->"};
    if (!qualified && kFollows.count(s.text(after)))
      s.insert_before(after, s.at(after).before.empty() ? " thread " : "thread ");
    // On to the body or the end: what stands between is no declarator.
    while (after < s.size() && !s.is(after, "{") && !s.is(after, ";"))
      after = s.match[after] != kNone && s.match[after] > after ? s.match[after] + 1 : after + 1;
    i = s.is(after, "{") ? s.match[after] : after;
  }
}

// What C++17 has and Metal 3.1 has not.
void check_language(Source& s) {
  Set templates;  // of classes
  for (std::size_t i = 0; i + 1 < s.size(); ++i) {
    const std::size_t close =
        s.is(i, "template") && s.is(i + 1, "<") ? s.closing_angle(i + 1) : kNone;
    if (close == kNone) continue;
    for (std::size_t j = i + 2; j < close; ++j)
      if (s.is(j, "auto")) s.error(j, "Metal 3.1 has no template <auto>");
    if ((s.is(close + 1, "struct") || s.is(close + 1, "class")) && s.is_name(close + 2))
      templates.insert(s.text(close + 2));
  }
  for (std::size_t i = 0; i + 1 < s.size(); ++i) {
    if (!templates.count(s.text(i)) || s.is(i + 1, "<")) continue;
    static const Set kBefore = {"struct", "class", "~", ".", "->", "typename", "&"};
    if (kBefore.count(s.previous_text(i))) continue;
    bool inside = false;  // where its name alone is the class itself
    for (std::size_t p = s.parent[i]; p != kNone; p = s.parent[p])
      for (std::size_t j = s.start_of_declaration(p); j < p && s.is(p, "{"); ++j)
        inside |= (s.is(j, "struct") || s.is(j, "class")) && s.text(j + 1) == s.text(i);
    if (inside || s.is(s.previous(i), "::")) continue;
    if (s.is(i + 1, "(") && s.is(s.closing(i + 1) + 1, "->"))
      s.error(i, "Metal 3.1 has no deduction guides");
    else if (s.is_name(i + 1) || s.is(i + 1, "(") || s.is(i + 1, "{"))
      s.error(i, "Metal 3.1 does not deduce the arguments of the class template " + s.text(i));
  }
}

// Words of OpenCL, and attributes that Metal has not.
void check_words(Source& s) {
  check_language(s);
  static const Set kWords = {"__global", "__local",     "__constant",   "__private",   "__generic",
                             "__kernel", "__read_only", "__write_only", "__read_write"};
  static const Set kAttributes = {"kernel",
                                  "host_name",
                                  "max_total_threads_per_threadgroup",
                                  "function_constant",
                                  "visible",
                                  "stitchable",
                                  "maybe_unused",
                                  "nodiscard",
                                  "fallthrough",
                                  "deprecated",
                                  "noreturn",
                                  "likely",
                                  "unlikely",
                                  "id"};
  for (std::size_t i = 0; i < s.size(); ++i)
    if (kWords.count(s.text(i))) s.error(i, s.text(i) + " is a word of OpenCL");
  for (const auto& [begin, end] : s.attribute_end) {
    const bool parameter = s.parent[begin] != kNone && s.is(s.parent[begin], "(");
    if (parameter || s.is(begin + 3, "::")) continue;
    for (const Attribute& a : s.attributes(begin, end))
      if (!kAttributes.count(a.name)) s.error(begin, "unknown attribute " + a.name);
  }
}

void rewrite_literals_and_names(Source& s) {
  for (Token& token : s.tokens) {
    if (token.kind == Token::Kind::identifier && kRenamed.count(token.text)) token.text += "_";
    if (token.kind != Token::Kind::number) continue;
    std::string& s = token.text;
    const bool hexadecimal = s.size() > 1 && (s[1] == 'x' || s[1] == 'X');
    const bool real =
        s.find_first_of(hexadecimal ? ".pP" : ".eE") != s.npos && s.find('b') == s.npos;
    if (real && (is_digit_or_dot(s.back()) || (hexadecimal && !is_suffix(s.back())))) s += "f";
    if (!hexadecimal && s.size() > 2 && (s.ends_with("bf") || s.ends_with("BF"))) {
      std::string value = s.substr(0, s.size() - 2);
      if (value.find_first_of(".eE") == value.npos) value += ".";
      s = "((bfloat)" + value + "f)";
    }
  }
}

}  // namespace cermet::metal::simulator
