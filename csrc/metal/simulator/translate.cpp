// The passes of the translation. Tokens are rewritten or emptied in place, never moved, so that
// bracket pairs found at first hold to the end; text between tokens is kept apart (inserted_).
#include "metal/simulator/translate.h"

#include <algorithm>
#include <charconv>
#include <initializer_list>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "metal/simulator/tokens.h"

namespace cermet::metal::simulator {
namespace {

using Set = std::set<std::string_view>;
constexpr std::size_t kNone = static_cast<std::size_t>(-1);
constexpr int kMaxSlot = 30, kMaxThreads = 1024, kMaxThreadgroupBytes = 32768;

const Set kScalars = {"bool",    "char",     "uchar",   "short",    "ushort",  "int",
                      "uint",    "long",     "ulong",   "half",     "float",   "bfloat",
                      "int8_t",  "uint8_t",  "int16_t", "uint16_t", "int32_t", "uint32_t",
                      "int64_t", "uint64_t", "size_t"};
const Set kSpaces = {"device", "threadgroup", "constant", "thread"};
// Words of OpenCL that are plain names in Metal.
const Set kRenamed = {"local",      "global",     "generic", "pipe",    "kernel_exec", "read_only",
                      "write_only", "read_write", "queue_t", "event_t", "sampler_t"};

// What a kernel may ask about its thread. One number, or a position of up to three.
const Set kNumbers = {"thread_index_in_threadgroup",
                      "thread_index_in_simdgroup",
                      "simdgroup_index_in_threadgroup",
                      "simdgroups_per_threadgroup",
                      "dispatch_simdgroups_per_threadgroup",
                      "threads_per_simdgroup",
                      "thread_execution_width",
                      "thread_index_in_quadgroup",
                      "quadgroup_index_in_threadgroup",
                      "quadgroups_per_threadgroup"};
const Set kPositions = {"thread_position_in_grid",
                        "thread_position_in_threadgroup",
                        "threadgroup_position_in_grid",
                        "threads_per_grid",
                        "grid_size",
                        "threads_per_threadgroup",
                        "threadgroups_per_grid",
                        "dispatch_threads_per_threadgroup"};

bool is_vector_name(std::string_view name) {
  return name.size() > 1 && name.back() >= '2' && name.back() <= '4' &&
         kScalars.count(name.substr(0, name.size() - 1)) && name.find('_') == name.npos;
}

std::optional<int> parse_int(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

struct Attribute {
  std::string name, arguments;
};

class Translator {
 public:
  Translator(const std::string& source, const std::string& path, bool strict) : strict_(strict) {
    tokens_ = tokenize(source, path, out_.diagnostics);
    path_ = path;
  }

  Translation run() {
    if (match_brackets()) {
      find_attributes();
      if (strict_) check_words();
      rewrite_literals_and_names();
      find_kernels();
      function_constants();
      threadgroup_variables();
      bool_vectors();
      vector_constructors();
      braced_lists();
      casts();
      struct_copies();
      address_spaces();
      if (strict_) qualify_methods();
      entry_points();
      remove_attributes();
    }
    assemble();
    return std::move(out_);
  }

 private:
  using Kind = Token::Kind;

  // ---- Looking at tokens ------------------------------------------------------------------------
  const Token& at(std::size_t i) const { return tokens_[std::min(i, tokens_.size() - 1)]; }
  const std::string& text(std::size_t i) const { return at(i).text; }
  bool is(std::size_t i, std::string_view s) const { return at(i).text == s; }
  bool is_name(std::size_t i) const { return at(i).kind == Kind::identifier; }
  std::size_t size() const { return tokens_.size() - 1; }  // without the end

  // The nearest token before i that has not been removed.
  std::size_t previous(std::size_t i) const {
    while (i-- > 0) {
      if (tokens_[i].kind != Kind::removed) return i;
    }
    return kNone;
  }
  std::string_view previous_text(std::size_t i) const {
    const std::size_t p = previous(i);
    return p == kNone ? std::string_view(";") : std::string_view(tokens_[p].text);
  }
  std::size_t closing(std::size_t i) const { return i < size() ? match_[i] : size(); }
  // Where the statement that i is in ends: its ';', or the bracket that closes around it.
  std::size_t end_of_statement(std::size_t i) const {
    for (; i < size() && !is(i, ";") && !is_closing(i); ++i) {
      if (match_[i] != kNone) i = match_[i];
    }
    return std::min(i, size());
  }
  bool is_closing(std::size_t i) const {
    return at(i).kind == Kind::punctuation && (is(i, ")") || is(i, "]") || is(i, "}"));
  }

  // The '>' of the '<' at i, or kNone where it is less-than.
  std::size_t closing_angle(std::size_t i) const {
    int depth = 0;
    for (std::size_t j = i; j < size() && !is(j, ";") && !is_closing(j) && !is(j, "{"); ++j) {
      if (is(j, "<")) ++depth;
      if (is(j, ">") && --depth == 0) return j;
      if (match_[j] != kNone && match_[j] > j) j = match_[j];
    }
    return kNone;
  }

  // The parts of [begin, end) between commas, as ranges.
  std::vector<std::pair<std::size_t, std::size_t>> split(std::size_t begin, std::size_t end) const {
    std::vector<std::pair<std::size_t, std::size_t>> parts;
    std::size_t start = begin;
    for (std::size_t i = begin; i < end; ++i) {
      if (is(i, ",")) {
        parts.emplace_back(start, i);
        start = i + 1;
      } else if (is(i, "<") && i > begin && is_name(i - 1)) {
        const std::size_t close = closing_angle(i);
        if (close != kNone && close < end) i = close;
      } else if (match_[i] != kNone && match_[i] > i) {
        i = match_[i];
      }
    }
    if (start < end) parts.emplace_back(start, end);
    return parts;
  }

  void error(std::size_t i, std::string message) {
    out_.diagnostics.push_back({at(i).location, std::move(message)});
  }
  void remove(std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < std::min(end, size()); ++i) {
      tokens_[i].text.clear();
      tokens_[i].kind = Kind::removed;
    }
  }
  // Between tokens, so that the text of this one can still be recognised.
  void insert_before(std::size_t i, const std::string& s) { inserted_[std::min(i, size())] += s; }

  // ---- Structure --------------------------------------------------------------------------------
  bool match_brackets() {
    match_.assign(tokens_.size(), kNone);
    parent_.assign(tokens_.size(), kNone);
    std::vector<std::size_t> open;
    for (std::size_t i = 0; i < size(); ++i) {
      parent_[i] = open.empty() ? kNone : open.back();
      if (at(i).kind != Kind::punctuation) continue;
      const std::string& s = text(i);
      if (s == "(" || s == "[" || s == "{") {
        open.push_back(i);
      } else if (is_closing(i)) {
        const char wanted = s == ")" ? '(' : s == "]" ? '[' : '{';
        if (open.empty()) {
          error(i, "'" + s + "' closes no '" + wanted + "'");
          return false;
        }
        if (text(open.back())[0] != wanted) {
          error(open.back(), "'" + text(open.back()) + "' is not closed before '" + s + "'");
          return false;
        }
        match_[i] = open.back();
        match_[open.back()] = i;
        open.pop_back();
      }
    }
    if (!open.empty()) error(open.back(), "'" + text(open.back()) + "' is never closed");
    return open.empty();
  }

  // [[...]]: attribute_end_ has the token after it by the token it begins with.
  void find_attributes() {
    for (std::size_t i = 0; i + 1 < size(); ++i) {
      if (is(i, "[") && is(i + 1, "[") && at(i + 1).before.empty() &&
          match_[i] == match_[i + 1] + 1) {
        attribute_end_[i] = match_[i] + 1;
        i = match_[i];
      }
    }
  }
  bool is_attribute(std::size_t i) const { return attribute_end_.count(i) != 0; }

  // The attributes written in [begin, end).
  std::vector<Attribute> attributes(std::size_t begin, std::size_t end) const {
    std::vector<Attribute> found;
    for (auto it = attribute_end_.lower_bound(begin); it != attribute_end_.end() && it->first < end;
         ++it) {
      for (const auto& [first, last] : split(it->first + 2, it->second - 2)) {
        std::size_t name = first;
        while (is(name + 1, "::")) name += 2;
        Attribute attribute{text(name), ""};
        if (is(name + 1, "(")) attribute.arguments = text_of(tokens_, name + 2, match_[name + 1]);
        if (name < last) found.push_back(std::move(attribute));
      }
    }
    return found;
  }
  static const Attribute* find(const std::vector<Attribute>& attributes, std::string_view name) {
    const auto it = std::find_if(attributes.begin(), attributes.end(),
                                 [&](const Attribute& a) { return a.name == name; });
    return it == attributes.end() ? nullptr : &*it;
  }
  // The text of [begin, end) without attributes.
  std::string bare_text(std::size_t begin, std::size_t end) const {
    std::string s;
    for (std::size_t i = begin; i < end; ++i) {
      if (is_attribute(i)) {
        i = attribute_end_.at(i) - 1;
      } else if (!text(i).empty()) {
        s += (s.empty() || at(i).before.empty() ? "" : " ") + text(i);
      }
    }
    return s;
  }

  // ---- Words ------------------------------------------------------------------------------------
  void rewrite_literals_and_names() {
    for (Token& token : tokens_) {
      if (token.kind == Kind::identifier && kRenamed.count(token.text)) token.text += "_";
      if (token.kind != Kind::number) continue;
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
  static bool is_digit_or_dot(char c) { return (c >= '0' && c <= '9') || c == '.'; }
  static bool is_suffix(char c) { return c == 'f' || c == 'F' || c == 'h' || c == 'H'; }

  // ---- Kernels ----------------------------------------------------------------------------------
  struct Kernel {
    std::size_t name, parameters, end;  // tokens: '(' and ')' of the parameters
    std::string max_threads;            // an expression, or empty
  };
  struct Instance {
    std::string host_name, expression;
    std::size_t where;  // token
  };

  void find_kernels() {
    for (std::size_t i = 0; i < size(); ++i) {
      if (is(i, "template") && is_attribute(i + 1)) {
        i = explicit_instantiation(i);
      } else if (is_attribute(i) || is(i, "kernel")) {
        i = kernel_definition(i);
      }
    }
  }

  std::size_t after_specifiers(std::size_t i) const {
    while (is_attribute(i) || is(i, "kernel")) i = is_attribute(i) ? attribute_end_.at(i) : i + 1;
    return i;
  }

  // template [[host_name("x")]] [[kernel]] decltype(f<A>) f<A>;   or   ... void f<A>(...);
  std::size_t explicit_instantiation(std::size_t begin) {
    const std::size_t type = after_specifiers(begin + 1), end = end_of_statement(type);
    const std::vector<Attribute> given = attributes(begin + 1, type);
    const Attribute* host = find(given, "host_name");
    if (host == nullptr) return type;
    std::size_t name = type + 1, last = end;
    if (is(type, "decltype")) {
      name = closing(type + 1) + 1;
    } else {
      for (last = name; last < end && !is(last, "("); ++last) {
      }
    }
    if (name >= end) {
      error(begin, "an explicit instantiation of a kernel needs its name");
      return end;
    }
    instances_.push_back({host_name(*host), text_of(tokens_, name, last), name});
    remove(begin, end + 1);
    return end;
  }
  static std::string host_name(const Attribute& attribute) {
    std::string name;  // adjacent literals are one
    bool inside = false;
    for (const char c : attribute.arguments) {
      if (c == '"')
        inside = !inside;
      else if (inside)
        name += c;
    }
    return name;
  }

  // [[kernel]] void f(...)   or   kernel void f(...)
  std::size_t kernel_definition(std::size_t begin) {
    const std::size_t type = after_specifiers(begin);
    const std::vector<Attribute> given = attributes(begin, type);
    bool is_kernel = find(given, "kernel") != nullptr;
    for (std::size_t i = begin; i < type; ++i) is_kernel |= is(i, "kernel");
    if (!is_kernel) return type - 1;
    if (!is(type, "void") || !is_name(type + 1) || !is(type + 2, "(")) {
      error(begin, is(type, "void") ? "a kernel needs a name and parameters"
                                    : "a kernel must return void, not " + text(type));
      return type;
    }
    const std::string name = text(type + 1);
    const std::size_t open = type + 2, close = match_[open];
    const Attribute* limit = find(given, "max_total_threads_per_threadgroup");
    if (!kernels_.try_emplace(name, Kernel{type + 1, open, close, limit ? limit->arguments : ""})
             .second) {
      error(type + 1, "a second kernel of the name " + name);
    }
    if (is(close + 1, "{")) {
      bodies_.emplace_back(close + 1, match_[close + 1]);
      // Where template arguments are known.
      if (limit) {
        const std::string bound = std::to_string(kMaxThreads);
        insert_before(close + 2,
                      " ::msl::max_threads(" + limit->arguments + "); " +
                          assertion("(" + limit->arguments + ") <= " + bound,
                                    "max_total_threads_per_threadgroup is at most " + bound));
      }
    }
    for (std::size_t i = begin; i < type; ++i) {
      if (is(i, "kernel")) remove(i, i + 1);
    }
    // Its entry point is not instrumented, and must not absorb it.
    insert_before(type, "__attribute__((noinline)) ");
    if (previous_text(begin) != ">") {
      const Attribute* host = find(given, "host_name");
      instances_.push_back({host ? host_name(*host) : name, name, type + 1});
    }
    return close;
  }

  // What only a check asserts: the simulator finds out when it runs.
  std::string assertion(const std::string& condition, const std::string& message) const {
    return strict_ ? "static_assert(" + condition + ", \"" + message + "\"); " : "";
  }

  bool in_kernel(std::size_t i) const {
    return std::any_of(bodies_.begin(), bodies_.end(),
                       [&](const auto& body) { return body.first < i && i < body.second; });
  }

  // An exported function for each kernel, which fetches its arguments.
  void entry_points() {
    std::set<std::string> names, used;
    for (const Instance& instance : instances_) {
      std::string base = instance.expression.substr(0, instance.expression.find('<'));
      base.erase(base.find_last_not_of(" \t\n") + 1);
      if (base.rfind("::") != base.npos) base = base.substr(base.rfind("::") + 2);
      const auto kernel = kernels_.find(base);
      if (kernel == kernels_.end()) {
        error(instance.where, "there is no kernel " + base + " to instantiate");
        continue;
      }
      if (!names.insert(instance.host_name).second) {
        error(instance.where, "a second kernel of the host name \"" + instance.host_name + '"');
      }
      Translation::Kernel info{instance.host_name,
                               "cermet_kernel_" + std::to_string(out_.kernels.size()),
                               {},
                               parse_int(kernel->second.max_threads).value_or(kMaxThreads)};
      const std::string arguments = kernel_arguments(base, kernel->second, info);
      used.insert(base);
      const SourceLocation& where = at(instance.where).location;
      entries_ +=
          "\n#line " + std::to_string(where.line) + " \"" + where.file +
          "\"\nextern \"C\" MSL_EXPORT void " + info.symbol +
          "(device const cermet_arguments* arguments) { using S = ::msl::signature<decltype(" +
          instance.expression + ")>; " + instance.expression + "(" + arguments + "); }";
      out_.kernels.push_back(std::move(info));
    }
    for (const auto& [name, kernel] : kernels_) {
      Translation::Kernel unused;
      if (!used.count(name)) kernel_arguments(name, kernel, unused);  // only to check them
    }
  }

  std::string kernel_arguments(const std::string& name, const Kernel& kernel,
                               Translation::Kernel& info) {
    std::string list;
    std::set<std::string> used;
    std::map<std::string, std::string> builtins;  // their types
    int next_slot = 0, index = 0;
    for (const auto& [begin, end] : split(kernel.parameters + 1, kernel.end)) {
      if (is(begin, "void") && end == begin + 1) break;
      const std::vector<Attribute> given = attributes(begin, end);
      const std::string type = "S::parameter<" + std::to_string(index++) + ">";
      list += list.empty() ? "" : ", ";
      const auto builtin = std::find_if(given.begin(), given.end(), [](const Attribute& a) {
        return kNumbers.count(a.name) || kPositions.count(a.name);
      });
      int places = 0;
      bool known = true;
      for (const Attribute& a : given) {
        if (a.name == "function_constant" || a.name == "maybe_unused") continue;
        if (++places > 1) error(begin, name + ": " + a.name + " is a second attribute of place");
        if (!kNumbers.count(a.name) && !kPositions.count(a.name) && a.name != "buffer" &&
            a.name != "threadgroup") {
          error(begin, name + ": unknown attribute " + a.name);
          known = false;
        }
      }
      if (!known) continue;
      if (builtin != given.end()) {
        const std::string its_type = builtin_type(name, *builtin, begin, end);
        check_builtin_match(name, builtin->name, its_type, begin, builtins);
        builtins.emplace(builtin->name, its_type);
        list += "::msl::" + builtin->name + "<" + type + ">()";
        continue;
      }
      const bool in_threadgroup = find(given, "threadgroup") != nullptr;
      const Attribute* place = find(given, in_threadgroup ? "threadgroup" : "buffer");
      const int slot = place ? parse_int(place->arguments).value_or(-1) : next_slot;
      if (slot < 0 || slot > kMaxSlot) {
        error(begin, name + ": " +
                         (place ? place->name + "(" + place->arguments + ")" : "a buffer") +
                         " is not one of the slots 0 to " + std::to_string(kMaxSlot));
        continue;
      }
      const std::string number = std::to_string(slot);
      list += "::msl::buffer<" + type + ">(" +
              (in_threadgroup ? "::msl::threadgroup_address(arguments, " + number + ")"
                              : "arguments->buffers[" + number + "]") +
              ")";
      const std::string slot_name = (in_threadgroup ? "threadgroup(" : "buffer(") + number + ")";
      if (!used.insert(slot_name).second) error(begin, name + ": a second " + slot_name);
      if (in_threadgroup) {
        const Set spaces = outer_spaces(begin, end);
        if (!spaces.count("threadgroup")) {
          error(begin, name + ": '" + bare_text(begin, end) +
                           "' is no pointer or reference to threadgroup memory");
        }
        continue;
      }
      next_slot = slot + 1;
      info.buffers.push_back(describe_buffer(name, slot, begin, end));
      info.buffers.back().optional = find(given, "function_constant") != nullptr;
    }
    return list;
  }

  Parameter describe_buffer(const std::string& name, int slot, std::size_t begin, std::size_t end) {
    const Set spaces = outer_spaces(begin, end);
    const bool constant = spaces.count("constant");
    if (!constant && !spaces.count("device")) {
      error(begin, name + ": '" + bare_text(begin, end) +
                       "' needs an attribute, or to be a pointer or reference to device or "
                       "constant memory");
    }
    return {slot, constant, !constant && !spaces.count("const"), false};
  }

  // The words that say what the outermost pointer or reference of a parameter leads to; none of a
  // value.
  Set outer_spaces(std::size_t begin, std::size_t end) const {
    static const Set kWords = {"const", "constant", "device", "threadgroup", "thread"};
    Set words, found;
    for (std::size_t i = begin; i < end; ++i) {
      if (is_attribute(i)) {
        i = attribute_end_.at(i) - 1;
      } else if (is(i, "<") && closing_angle(i) != kNone) {
        i = closing_angle(i);
      } else if (is(i, "*") || is(i, "&")) {
        found = std::exchange(words, {});
      } else if (is(i, "__constant")) {
        words.insert("constant");
      } else if (kWords.count(text(i))) {
        words.insert(*kWords.find(text(i)));
      }
    }
    return found;
  }

  // The type of an argument that asks about the thread.
  std::string builtin_type(const std::string& name, const Attribute& builtin, std::size_t begin,
                           std::size_t end) {
    for (std::size_t i = begin; i < end && !is_attribute(i); ++i) {
      if (!kScalars.count(text(i)) && !is_vector_name(text(i))) continue;
      std::string_view type = text(i);
      const bool vector = is_vector_name(type);
      if (vector) type.remove_suffix(1);
      const bool good =
          (type == "uint" || type == "ushort" || type == "uint32_t" || type == "uint16_t") &&
          !(vector && (kNumbers.count(builtin.name) || text(i).back() == '4'));
      if (!good) error(i, name + ": " + builtin.name + " cannot be of type " + text(i));
      return text(i);
    }
    return "";
  }

  // Positions are all numbers or all vectors of one size, and what belongs together has one type.
  void check_builtin_match(const std::string& name, const std::string& builtin,
                           const std::string& type, std::size_t where,
                           const std::map<std::string, std::string>& others) {
    static const Set kGrid = {"thread_position_in_grid", "threads_per_grid"};
    static const Set kGroup = {"thread_position_in_threadgroup", "threads_per_threadgroup"};
    static const Set kSynonyms = {"threads_per_simdgroup", "thread_execution_width"};
    const auto both_in = [&](const Set& set, const std::string& other) {
      return set.count(builtin) && set.count(other);
    };
    const auto size = [](const std::string& t) { return is_vector_name(t) ? t.back() : '1'; };
    for (const auto& [other, other_type] : others) {
      const bool alike = both_in(kGrid, other) || both_in(kGroup, other);
      if (builtin == other || both_in(kSynonyms, other)) {
        error(where, name + ": " + builtin + " is a second " + other);
      } else if (both_in(kPositions, other) && size(type) != size(other_type)) {
        error(where, name + ": " + builtin + " has not as many components as " + other);
      } else if (alike && type != other_type) {
        error(where, name + ": " + builtin + " has not the type of " + other);
      }
    }
  }

  // ---- Function constants -----------------------------------------------------------------------
  // constant bool x [[function_constant(3)]];   becomes a variable that is set before a launch.
  void function_constants() {
    for (std::size_t i = 0; i < size(); ++i) {
      const bool attribute = is_attribute(i) && is(i + 2, "function_constant");
      if (attribute && (is(attribute_end_.at(i), ";") || is(attribute_end_.at(i), "="))) {
        declare_constant(i);
      } else if (is(i, "is_function_constant_defined") && is(i + 1, "(")) {
        const auto constant = constants_.find(text(i + 2));
        if (constant == constants_.end()) {
          error(i, "is_function_constant_defined of " + text(i + 2) + ", no function constant");
          continue;
        }
        tokens_[i].text = "cermet_defined_" + std::to_string(constant->second);
        remove(i + 1, closing(i + 1) + 1);
      } else if (is(i, "=") && parent_is_scope(i) && is_name(i - (i > 0))) {
        derive_constant(i);
      } else if (is_name(i) && derived_.count(text(i)) && previous_text(i) != "." &&
                 previous_text(i) != "->") {
        insert_before(i + 1, "()");
      }
    }
  }
  std::size_t start_of_declaration(std::size_t i) const {
    while (i > 0 && !is(i - 1, ";") && !is(i - 1, "}") && !is(i - 1, "{")) --i;
    return i;
  }
  bool parent_is_scope(std::size_t i) const {  // of the program or a namespace
    for (std::size_t p = parent_[i]; p != kNone; p = parent_[p]) {
      if (!is(p, "{") || !(is(p - 1, "namespace") || is(p - 2, "namespace"))) return false;
    }
    return true;
  }

  void declare_constant(std::size_t attribute) {
    const std::size_t begin = start_of_declaration(attribute), name = attribute - 1;
    const std::optional<int> index =
        parse_int(text_of(tokens_, attribute + 4, closing(attribute + 3)));
    if (attribute == 0 || !is_name(name) || !index) {
      error(attribute, "function_constant needs a name before it and a number in it");
      return;
    }
    std::string type;
    bool constant = false;
    for (std::size_t i = begin; i < name; ++i) {
      constant |= is(i, "constant");
      if (is(i, "constant") || is(i, "const") || is(i, "static") || is(i, "constexpr")) {
        remove(i, i + 1);
      } else {
        type += (type.empty() ? "" : " ") + text(i);
      }
    }
    if (!constant) {
      error(name, "function constant " + text(name) + " is not in the constant address space");
    }
    const std::string number = std::to_string(*index);
    if (is(attribute_end_.at(attribute), "=")) {
      error(name, "function constant " + text(name) + " has no value of its own");
    }
    for (const auto& [other, other_index] : constants_) {
      if (other_index == *index) {
        error(name, text(name) + ": a second function_constant(" + number + "), after " + other);
      }
    }
    insert_before(begin, assertion("metal::is_arithmetic_v<metal::element_t<" + type + ">>",
                                   "a function constant is a scalar or a vector"));
    insert_before(begin, "__global ");
    insert_before(name + 1, " __asm__(\"cermet_constant_" + number +
                                "\") __attribute__((visibility(\"default\")))");
    constants_[text(name)] = *index;
    if (defined_.insert(*index).second) {
      prologue_ += "MSL_EXPORT __global bool cermet_defined_" + number + "; ";
      out_.constants.push_back({text(name), type, *index});
    }
  }

  // constant int n = x ? 4 : 8;   of a function constant x: becomes a function n().
  void derive_constant(std::size_t equals) {
    const std::size_t name = equals - 1, begin = start_of_declaration(name);
    const std::size_t end = end_of_statement(equals);
    bool constant = false, dependent = false;
    for (std::size_t i = begin; i < name; ++i) constant |= is(i, "constant");
    for (std::size_t i = equals + 1; i < end; ++i) {
      dependent |= constants_.count(text(i)) || derived_.count(text(i));
    }
    if (!constant || !dependent || !is(end, ";")) return;
    for (std::size_t i = begin; i < name; ++i) {
      if (is(i, "constant") || is(i, "const") || is(i, "static") || is(i, "constexpr")) {
        remove(i, i + 1);
      }
    }
    insert_before(begin, "MSL_INLINE ");
    tokens_[equals].text = "() { return ";
    insert_before(end + 1, " }");
    derived_.insert(text(name));
  }

  // ---- Threadgroup variables --------------------------------------------------------------------
  // threadgroup T a[n], b;
  // becomes   threadgroup auto& a = ::msl::threadgroup_variable<T[n], 1>();   and so on.
  void threadgroup_variables() {
    static const Set kStarts = {";", "{", "}", "volatile", "static", ":"};
    int id = 0;
    for (std::size_t i = 0; i < size(); ++i) {
      if (!is(i, "threadgroup")) continue;
      std::size_t begin = i;
      if (i > 0 && is(i - 1, ")") && is(match_[i - 1] - 1, "alignas")) begin = match_[i - 1] - 1;
      if (!kStarts.count(previous_text(begin)) && !after_attribute(begin)) continue;
      const std::size_t end = end_of_statement(i);
      if (!is(end, ";") || !declares_variables(i + 1, end)) continue;
      if (is(initial_value(i + 1, end), "=")) {
        error(i, "a threadgroup variable has no initial value: " + bare_text(i, end));
        continue;
      }
      if (!in_kernel(i)) {
        error(i, "threadgroup variable outside a kernel: " + bare_text(i, end));
        continue;
      }
      declare_threadgroup(begin, i, end, id);
      i = end;
    }
  }
  bool after_attribute(std::size_t i) const {
    return std::any_of(attribute_end_.begin(), attribute_end_.end(),
                       [&](const auto& a) { return a.second == i; });
  }
  // The '=' in [begin, end), or end.
  std::size_t initial_value(std::size_t begin, std::size_t end) const {
    while (begin < end && !is(begin, "=")) ++begin;
    return begin;
  }
  // No pointer, reference or function.
  bool declares_variables(std::size_t begin, std::size_t end) const {
    for (std::size_t i = begin; i < initial_value(begin, end); ++i) {
      if (is(i, "*") || is(i, "&") || is(i, "(")) return false;
      if (is(i, "<") && closing_angle(i) != kNone)
        i = closing_angle(i);
      else if (match_[i] != kNone)
        i = match_[i];
    }
    return true;
  }
  void declare_threadgroup(std::size_t begin, std::size_t keyword, std::size_t end, int& id) {
    const auto parts = split(keyword + 1, end);
    if (parts.empty()) return;
    // The first declarator's name comes before its array bounds.
    std::size_t name = parts[0].second - 1;
    while (name > keyword + 1 && is(name, "]")) name = match_[name] - 1;
    const std::string type = bare_text(keyword + 1, name);
    std::string declarations;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const std::size_t declarator = i == 0 ? name : parts[i].first;
      const std::string whole_type = type + bare_text(declarator + 1, parts[i].second);
      declarations += "threadgroup auto& " + text(declarator) + " = ::msl::threadgroup_variable<" +
                      whole_type + ", " + std::to_string(++id) + ">();";
      threadgroup_sizes_.emplace_back(parent_[begin], " + sizeof(" + whole_type + ")");
    }
    std::string bytes = "0";
    for (const auto& [scope, size] : threadgroup_sizes_) {
      if (is_inside(begin, scope)) bytes += size;
    }
    declarations += assertion(
        bytes + " <= " + std::to_string(kMaxThreadgroupBytes),
        "threadgroup variables take more than " + std::to_string(kMaxThreadgroupBytes) + " bytes");
    remove(begin, end + 1);
    insert_before(begin, declarations);
  }

  bool is_inside(std::size_t i, std::size_t bracket) const {
    while (i != kNone && i != bracket) i = parent_[i];
    return i == bracket;
  }

  // ---- Vectors ----------------------------------------------------------------------------------
  // vec<bool, 4> is bool4.
  void bool_vectors() {
    for (std::size_t i = 0; i + 5 < size(); ++i) {
      if (is(i, "vec") && is(i + 1, "<") && is(i + 2, "bool") && is(i + 3, ",") && is(i + 5, ">")) {
        tokens_[i].text = "bool" + text(i + 4);
        remove(i + 1, i + 6);
      }
    }
  }

  bool is_vector(std::size_t i) const {
    return is_name(i) && (is_vector_name(text(i)) || vectors_.count(text(i)));
  }
  // The token after the vector type at i, or kNone: float4, metal::float4, vec<T, 4>.
  std::size_t after_vector(std::size_t i) const {
    if (is(i, "metal") && is(i + 1, "::")) i += 2;
    if (is_vector(i)) return i + 1;
    if (!is(i, "vec") || !is(i + 1, "<")) return kNone;
    const std::size_t close = closing_angle(i + 1);
    return close == kNone ? kNone : close + 1;
  }

  void vector_constructors() {
    for (std::size_t i = 0; i + 3 < size(); ++i) {  // the source's own names of vectors
      if (is(i, "using") && is(i + 2, "=") && after_vector(i + 3) != kNone) {
        if (is(after_vector(i + 3), ";")) vectors_.insert(text(i + 1));
      } else if (is(i, "typedef") && after_vector(i + 1) != kNone) {
        vectors_.insert(text(after_vector(i + 1)));
      }
    }
    for (std::size_t i = 0; i < size(); ++i) {
      const std::string_view before = previous_text(i);
      if (before == "operator" || before == "." || before == "->" || before == "::") continue;
      const std::size_t end = after_vector(i);
      if (end == kNone) continue;
      if (is(end, "(") && !is(end + 1, "*") && !is(end + 1, "&")) {  // float4(a, b)
        insert_before(i, "::msl::make<");
        insert_before(end, ">");
      } else if (is(end, "{")) {  // float4{a, b}
        braces_to_call(i, end, i, end);
      } else if (is_name(end) && is(end + 1, "=") && is(end + 2, "{")) {  // float4 v = {a, b};
        braces_to_call(end + 2, end + 2, i, end);
      } else if (is_name(end) && is(end + 1, "{") && is(closing(end + 1) + 1, ";")) {
        insert_before(end + 1, " = ");  // float4 v{a, b};
        braces_to_call(end + 1, end + 1, i, end);
      } else if (is_name(end) && is(end + 1, "(") && is(closing(end + 1) + 1, ";") &&
                 in_function(i) && !is(end + 2, ")")) {  // float4 v(a, b);
        insert_before(end + 1, " = ::msl::make<" + text_of(tokens_, i, end) + ">");
      }
    }
  }
  // A list in braces becomes a call of make_list, with the vector type [type, type_end).
  void braces_to_call(std::size_t begin, std::size_t open, std::size_t type, std::size_t type_end) {
    const std::string name = text_of(tokens_, type, type_end);
    remove(begin, open);
    insert_before(begin, "::msl::make_list<" + name + ">");
    tokens_[open].text = "(";
    tokens_[match_[open]].text = ")";
  }
  bool in_function(std::size_t i) const {
    for (std::size_t p = parent_[i]; p != kNone; p = parent_[p]) {
      if (is(p, "{") && is(previous(p), ")")) return true;
    }
    return false;
  }

  // f({a, b}): a list that takes the parameter's type.
  void braced_lists() {
    for (std::size_t i = 1; i < size(); ++i) {
      if (!is(i, "{") || !(is(i - 1, "(") || is(i - 1, ","))) continue;
      if (parent_[i] == kNone || !is(parent_[i], "(")) continue;
      const std::size_t close = match_[i], count = split(i + 1, close).size();
      if (count >= 2 && count <= 4 && (is(close + 1, ",") || is(close + 1, ")"))) {
        insert_before(i, "::msl::list");
      }
    }
  }

  // ---- What OpenCL is stricter about ------------------------------------------------------------
  void casts() {
    for (std::size_t i = 0; i < size(); ++i) {
      const std::string_view before = previous_text(i);
      if (is(i, "static_cast") && is(i + 1, "<") && closing_angle(i + 1) != kNone) {
        const std::size_t close = closing_angle(i + 1);
        bool value = true;
        for (std::size_t j = i + 2; j < close; ++j) {
          value &= !is(j, "*") && !is(j, "&") && !is(j, "void");
        }
        if (value) tokens_[i].text = "::msl::cast";
      } else if ((is(i, "bfloat") || is(i, "half")) && is(i + 1, "(") && !is(i + 2, "*") &&
                 !is(i + 2, "&") && before != "operator") {
        tokens_[i].text = "::msl::cast<" + text(i) + ">";
      }
    }
  }

  // S a = b;   of a struct S, where b may be in constant memory.
  void struct_copies() {
    Set names;
    for (std::size_t i = 0; i + 1 < size(); ++i) {
      if (is(i, "struct") && is_name(i + 1) && previous_text(i) != ">") names.insert(text(i + 1));
    }
    static const Set kStarts = {";", "{", "}", "const"};
    for (std::size_t i = 0; i + 3 < size(); ++i) {
      if (!is_name(i) || !names.count(text(i)) || !is_name(i + 1) || !is(i + 2, "=") ||
          is(i + 3, "{") || !kStarts.count(previous_text(i)) || !in_function(i)) {
        continue;
      }
      const std::size_t end = end_of_statement(i + 2);
      if (split(i + 3, end).size() != 1) continue;
      insert_before(i + 3, "::msl::copy<" + text(i) + ">(");
      insert_before(end, ")");
    }
  }

  void address_spaces() {
    Set classes;
    for (std::size_t i = 0; i + 1 < size(); ++i) {
      if (is(i, "struct") || is(i, "class")) classes.insert(text(i + 1));
    }
    for (std::size_t i = 0; i < size(); ++i) {
      const std::string_view before = previous_text(i);
      if (is(i, "constant") && (before == ")" || (before == "const" && i > 1 && is(i - 2, ")"))) &&
          (is(i + 1, "{") || is(i + 1, ":") || is(i + 1, ";"))) {
        tokens_[i].text = "__constant";  // of a method; elsewhere it implies const
      } else if (is(i, "(") && i > 0 && is_name(i - 1) && classes.count(text(i - 1)) &&
                 is(match_[i] + 1, "thread") && previous_text(i - 1) != "." &&
                 previous_text(i - 1) != "->") {
        remove(match_[i] + 1, match_[i] + 2);  // a constructor with it cannot make temporaries
      } else if (is(i, "&") && i >= 3 && parent_[i] != kNone && is(parent_[i], "(")) {
        scalar_reference(i);
      }
    }
  }
  // A parameter `const thread float& x` takes no temporary: by value it does.
  void scalar_reference(std::size_t i) {
    std::size_t space = kNone;
    bool is_const = false, scalar = false;
    for (std::size_t j = i - 3; j < i; ++j) {
      if (is(j, "thread")) space = j;
      is_const |= is(j, "const");
      scalar |= kScalars.count(text(j)) != 0;
    }
    if (space == kNone || !is_const || !scalar) return;
    remove(space, space + 1);
    remove(i, i + 1);
  }

  // A method without an address space is a method of objects in thread memory.
  void qualify_methods() {
    for (std::size_t i = 1; i < size(); ++i) {
      const std::size_t body = parent_[i];
      if (!is(i, "(") || body == kNone || !is_class_body(body) || is_attribute_part(i)) continue;
      const std::size_t begin = start_of_declaration(i);
      if (!declares_method(begin, i)) continue;
      std::size_t after = match_[i] + 1;
      if (is(i - 1, "operator")) after = match_[after] + 1;  // operator()(...)
      bool qualified = false;
      for (; is(after, "const") || is(after, "volatile") || kSpaces.count(text(after)) ||
             is(after, "__constant");
           ++after) {
        qualified |= !is(after, "const") && !is(after, "volatile");
      }
      static const Set kFollows = {"{", ";", ":", "=", "->"};
      if (!qualified && kFollows.count(text(after))) {
        insert_before(after, at(after).before.empty() ? " thread " : "thread ");
      }
      // On to the body or the end: what stands between is no declarator.
      while (after < size() && !is(after, "{") && !is(after, ";")) {
        after = match_[after] != kNone && match_[after] > after ? match_[after] + 1 : after + 1;
      }
      i = is(after, "{") ? match_[after] : after;
    }
  }
  bool is_class_body(std::size_t open) const {
    if (!is(open, "{")) return false;
    for (std::size_t i = start_of_declaration(open); i < open; ++i) {
      if (is(i, "<") && closing_angle(i) != kNone) i = closing_angle(i);
      if (is(i, "(")) return false;
      if (is(i, "struct") || is(i, "class") || is(i, "union")) return true;
    }
    return false;
  }
  bool is_attribute_part(std::size_t i) const {
    const auto it = attribute_end_.upper_bound(i);
    return it != attribute_end_.begin() && std::prev(it)->second > i;
  }
  bool declares_method(std::size_t begin, std::size_t open) const {
    static const Set kOthers = {"static", "friend", "using", "typedef", "static_assert", "="};
    static const Set kWords = {"alignas",  "decltype", "sizeof",
                               "explicit", "noexcept", "__attribute__"};
    for (std::size_t i = begin; i < open; ++i) {
      const bool after_operator = i > 0 && is(i - 1, "operator");
      if (kOthers.count(text(i)) && !after_operator) return false;
    }
    if (kWords.count(text(open - 1))) return false;
    if (open >= 2 && (is(open - 2, "operator") || is(open - 1, "operator"))) return true;
    for (std::size_t i = begin; i < open; ++i) {
      if (is(i, "operator")) return true;  // of two tokens, or a conversion
    }
    return is_name(open - 1) && !is(open - 1, "constructor");
  }

  // Words of OpenCL, and attributes that Metal has not.
  void check_words() {
    static const Set kWords = {"__global",    "__local",      "__constant",
                               "__private",   "__generic",    "__kernel",
                               "__read_only", "__write_only", "__read_write"};
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
    for (std::size_t i = 0; i < size(); ++i) {
      if (kWords.count(text(i))) error(i, text(i) + " is a word of OpenCL");
    }
    for (const auto& [begin, end] : attribute_end_) {
      const bool parameter = parent_[begin] != kNone && is(parent_[begin], "(");
      if (parameter || is(begin + 3, "::")) continue;
      for (const Attribute& a : attributes(begin, end)) {
        if (!kAttributes.count(a.name)) error(begin, "unknown attribute " + a.name);
      }
    }
  }

  void remove_attributes() {
    for (const auto& [begin, end] : attribute_end_) remove(begin, end);
  }

  // ---- The result -------------------------------------------------------------------------------
  void assemble() {
    std::string& text = out_.text;
    if (!prologue_.empty()) text = "extern \"C\" { " + prologue_ + "}\n";
    text += "#line 1 \"" + path_ + "\"\n";
    std::size_t line_start = text.size();
    const SourceLocation* line = nullptr;
    int shift = 0;
    const auto append = [&](const std::string& s) {
      text += s;
      const std::size_t newline = s.rfind('\n');
      if (newline != s.npos) line_start = text.size() - s.size() + newline + 1;
    };
    for (std::size_t i = 0; i <= size(); ++i) {
      const Token& token = tokens_[i];
      append(token.before);
      const auto inserted = inserted_.find(i);
      if (inserted != inserted_.end()) append(inserted->second);
      if (line == nullptr || line->line != token.location.line ||
          line->file != token.location.file) {
        shift = 0;
      }
      line = &token.location;
      const int column = static_cast<int>(text.size() - line_start) + 1;
      if (token.location.column - column != shift) {
        shift = token.location.column - column;
        out_.shifts.push_back({token.location.file, token.location.line, column, shift});
      }
      append(token.text);
    }
    text += entries_ + "\n";
  }

  bool strict_;
  std::string path_;
  std::vector<Token> tokens_;
  std::vector<std::size_t> match_;   // the other bracket
  std::vector<std::size_t> parent_;  // the bracket around
  std::map<std::size_t, std::size_t> attribute_end_;
  std::map<std::size_t, std::string> inserted_;  // before a token
  std::map<std::string, Kernel> kernels_;
  std::vector<Instance> instances_;
  std::vector<std::pair<std::size_t, std::size_t>> bodies_;  // of kernels
  std::map<std::string, int> constants_;
  std::set<int> defined_;
  // Of the threadgroup variables: the bracket around each, and its size.
  std::vector<std::pair<std::size_t, std::string>> threadgroup_sizes_;
  std::set<std::string> derived_, vectors_;
  std::string prologue_, entries_;
  Translation out_;
};

}  // namespace

SourceLocation Translation::original(SourceLocation location) const {
  int shift = 0;
  for (const ColumnShift& s : shifts) {
    if (s.line == location.line && s.column <= location.column && s.file == location.file) {
      shift = s.shift;
    }
  }
  location.column = std::max(1, location.column + shift);
  return location;
}

bool needs_preprocessor(const std::string& source) {
  std::string_view rest = source;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
    if (line.empty() || line[0] != '#') continue;
    line.remove_prefix(std::min(line.find_first_not_of("# \t"), line.size()));
    const bool metal_header = line.starts_with("include") && line.find("<metal_") != line.npos;
    if (!metal_header && !line.starts_with("pragma") && !line.starts_with("line") &&
        !line.empty() && !(line[0] >= '0' && line[0] <= '9')) {
      return true;
    }
  }
  return false;
}

Translation translate(const std::string& source, const std::string& path, bool strict) {
  return Translator(source, path, strict).run();
}

}  // namespace cermet::metal::simulator
