// Kernels, their instances, and the arguments of each.
#include "metal/simulator/translate/passes.h"

namespace cermet::metal::simulator {
namespace {

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

std::string host_name(const Attribute& attribute) {
  std::string name;  // adjacent literals are one
  bool inside = false;
  for (const char c : attribute.arguments)
    if (c == '"')
      inside = !inside;
    else if (inside)
      name += c;
  return name;
}

std::size_t after_specifiers(const Source& s, std::size_t i) {
  while (s.is_attribute(i) || s.is(i, "kernel"))
    i = s.is_attribute(i) ? s.attribute_end.at(i) : i + 1;
  return i;
}

// The words that say what the outermost pointer or reference of a parameter leads to; none of a
// value.
Set outer_spaces(const Source& s, std::size_t begin, std::size_t end) {
  static const Set kWords = {"const", "constant", "device", "threadgroup", "thread"};
  Set words, found;
  for (std::size_t i = begin; i < end; ++i)
    if (s.is_attribute(i))
      i = s.attribute_end.at(i) - 1;
    else if (s.is(i, "<") && s.closing_angle(i) != kNone)
      i = s.closing_angle(i);
    else if (s.is(i, "*") || s.is(i, "&"))
      found = std::exchange(words, {});
    else if (s.is(i, "__constant"))
      words.insert("constant");
    else if (kWords.count(s.text(i)))
      words.insert(*kWords.find(s.text(i)));
  return found;
}

// The type of an argument that asks about the thread.
std::string builtin_type(Source& s, const std::string& name, const Attribute& builtin,
                         std::size_t begin, std::size_t end) {
  for (std::size_t i = begin; i < end && !s.is_attribute(i); ++i) {
    if (!kScalars.count(s.text(i)) && !is_vector_name(s.text(i))) continue;
    std::string_view type = s.text(i);
    const bool vector = is_vector_name(type);
    if (vector) type.remove_suffix(1);
    const bool good =
        (type == "uint" || type == "ushort" || type == "uint32_t" || type == "uint16_t") &&
        !(vector && (kNumbers.count(builtin.name) || s.text(i).back() == '4'));
    if (!good) s.error(i, name + ": " + builtin.name + " cannot be of type " + s.text(i));
    return s.text(i);
  }
  return "";
}

// Positions are all numbers or all vectors of one size, and what belongs together has one type.
void check_builtin_match(Source& s, const std::string& name, const std::string& builtin,
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
    if (builtin == other || both_in(kSynonyms, other))
      s.error(where, name + ": " + builtin + " is a second " + other);
    else if (both_in(kPositions, other) && size(type) != size(other_type))
      s.error(where, name + ": " + builtin + " has not as many components as " + other);
    else if (alike && type != other_type)
      s.error(where, name + ": " + builtin + " has not the type of " + other);
  }
}

Parameter describe_buffer(Source& s, const std::string& name, int slot, std::size_t begin,
                          std::size_t end) {
  const Set spaces = outer_spaces(s, begin, end);
  const bool constant = spaces.count("constant");
  if (!constant && !spaces.count("device"))
    s.error(begin, name + ": '" + s.bare_text(begin, end) +
                       "' needs an attribute, or to be a pointer or reference to device or "
                       "constant memory");
  return {slot, constant, !constant && !spaces.count("const"), false};
}

}  // namespace

Kernels::Kernels(Source& source) : s_(source) {
  for (std::size_t i = 0; i < s_.size(); ++i)
    if (s_.is(i, "template") && s_.is_attribute(i + 1))
      i = explicit_instantiation(i);
    else if (s_.is_attribute(i) || s_.is(i, "kernel") ||
             (s_.is(i, "void") && s_.is(i + 1, "kernel")))
      i = kernel_definition(i);
}

// template [[host_name("x")]] [[kernel]] decltype(f<A>) f<A>;   or   ... void f<A>(...);
std::size_t Kernels::explicit_instantiation(std::size_t begin) {
  const std::size_t type = after_specifiers(s_, begin + 1), end = s_.end_of_statement(type);
  const std::vector<Attribute> given = s_.attributes(begin + 1, type);
  const Attribute* host = find(given, "host_name");
  if (host == nullptr) return type;
  std::size_t name = after_specifiers(s_, type + 1), last = end;
  if (s_.is(type, "decltype")) {
    name = s_.closing(type + 1) + 1;
  } else {
    for (last = name; last < end && !s_.is(last, "("); ++last)
      if (s_.is(last, "<") && s_.closing_angle(last) != kNone) last = s_.closing_angle(last);
  }
  if (name >= end) {
    s_.error(begin, "an explicit instantiation of a kernel needs its name");
    return end;
  }
  instances_.push_back({host_name(*host), s_.text_of(name, last), name, {}});
  if (last < end)
    for (const auto& [from, to] : s_.split(last + 1, s_.closing(last)))
      instances_.back().parameters.push_back(s_.bare_text(from, to));
  s_.remove(begin, end + 1);
  return end;
}

// [[kernel]] void f(...)   or   kernel void f(...)   or   void kernel f(...)
std::size_t Kernels::kernel_definition(std::size_t begin) {
  const std::size_t type = after_specifiers(s_, begin);
  const std::size_t name_at = s_.is(type, "void") ? after_specifiers(s_, type + 1) : type;
  const std::vector<Attribute> given = s_.attributes(begin, name_at);
  bool is_kernel = find(given, "kernel") != nullptr;
  for (std::size_t i = begin; i < name_at; ++i) is_kernel |= s_.is(i, "kernel");
  if (!is_kernel) return std::max(begin, type - 1);
  if (!s_.is(type, "void") || !s_.is_name(name_at) || !s_.is(name_at + 1, "(")) {
    s_.error(begin, s_.is(type, "void") ? "a kernel needs a name and parameters"
                                        : "a kernel must return void, not " + s_.text(type));
    return type;
  }
  const std::string name = s_.text(name_at);
  const std::size_t open = name_at + 1, close = s_.match[open];
  const Attribute* limit = find(given, "max_total_threads_per_threadgroup");
  const bool is_template = s_.previous_text(begin) == ">";
  std::vector<Kernel>& overloads = kernels_[name];
  if (!overloads.empty() && !is_template) s_.error(name_at, "a second kernel of the name " + name);
  overloads.push_back({name_at, open, close, limit ? limit->arguments : ""});
  if (s_.is(close + 1, "{")) {
    bodies_.emplace_back(close + 1, s_.match[close + 1]);
    // Where template arguments are known.
    if (limit) {
      const std::string bound = std::to_string(kMaxThreads);
      s_.insert_before(close + 2,
                       " ::msl::max_threads(" + limit->arguments + "); " +
                           s_.assertion("(" + limit->arguments + ") <= " + bound,
                                        "max_total_threads_per_threadgroup is at most " + bound));
    }
  }
  for (std::size_t i = begin; i < name_at; ++i)
    if (s_.is(i, "kernel")) s_.remove(i, i + 1);
  // Its entry point is not instrumented, and must not absorb it.
  s_.insert_before(type, "__attribute__((noinline)) ");
  if (!is_template) {
    const Attribute* host = find(given, "host_name");
    instances_.push_back({host ? host_name(*host) : name, name, name_at, {}});
  }
  return close;
}

bool Kernels::contain(std::size_t i) const {
  return std::any_of(bodies_.begin(), bodies_.end(),
                     [&](const auto& body) { return body.first < i && i < body.second; });
}

// The one of that many parameters, then the one whose parameters are written most alike.
const Kernels::Kernel* Kernels::chosen(const std::vector<Kernel>& overloads,
                                       const Instance& instance) const {
  if (overloads.size() == 1 || instance.expression.find('<') == std::string::npos)
    return &overloads[0];
  const Kernel* best = nullptr;
  int best_score = -1;
  for (const Kernel& kernel : overloads) {
    const auto parts = s_.split(kernel.parameters + 1, kernel.end);
    if (parts.size() != instance.parameters.size()) continue;
    int score = 0;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const std::string& given = instance.parameters[i];
      for (std::size_t j = parts[i].first; j < parts[i].second; ++j)
        score += !s_.text(j).empty() && given.find(s_.text(j)) != given.npos;
    }
    if (score > best_score) best = &kernel;
    best_score = std::max(score, best_score);
  }
  return best;
}

std::string Kernels::entry_points(std::vector<Translation::Kernel>& described) {
  std::string entries;
  std::set<std::string> names;
  std::set<const Kernel*> used;
  for (const Instance& instance : instances_) {
    std::string base = instance.expression.substr(0, instance.expression.find('<'));
    base.erase(base.find_last_not_of(" \t\n") + 1);
    if (base.rfind("::") != base.npos) base = base.substr(base.rfind("::") + 2);
    const auto overloads = kernels_.find(base);
    if (overloads == kernels_.end()) {
      s_.error(instance.where, "there is no kernel " + base + " to instantiate");
      continue;
    }
    const Kernel* const kernel = chosen(overloads->second, instance);
    if (kernel == nullptr) {
      s_.error(instance.where, "which of the kernels " + base + " is meant needs its parameters");
      continue;
    }
    if (!names.insert(instance.host_name).second)
      s_.error(instance.where, "a second kernel of the host name \"" + instance.host_name + '"');
    Translation::Kernel info{instance.host_name,
                             "cermet_kernel_" + std::to_string(described.size()),
                             {},
                             parse_int(kernel->max_threads).value_or(kMaxThreads)};
    const std::string arguments = kernel_arguments(base, *kernel, info);
    used.insert(kernel);
    std::string type = "decltype(" + instance.expression + ")";
    if (overloads->second.size() > 1) {
      type = "void(";
      for (const std::string& p : instance.parameters) type += (type.back() == '(' ? "" : ", ") + p;
      type += ")";
    }
    const SourceLocation& where = s_.at(instance.where).location;
    entries += "\n#line " + std::to_string(where.line) + " \"" + where.file +
               "\"\nextern \"C\" MSL_EXPORT void " + info.symbol +
               "(device const cermet_arguments* arguments) { using S = ::msl::signature<" + type +
               ">; " + instance.expression + "(" + arguments + "); }";
    described.push_back(std::move(info));
  }
  for (const auto& [name, overloads] : kernels_)
    for (const Kernel& kernel : overloads) {
      Translation::Kernel unused;
      if (!used.count(&kernel)) kernel_arguments(name, kernel, unused);  // only to check them
    }
  return entries;
}

std::string Kernels::kernel_arguments(const std::string& name, const Kernel& kernel,
                                      Translation::Kernel& info) {
  std::string list;
  std::set<std::string> used;
  std::map<std::string, std::string> builtins;  // their types
  int next_slot = 0, index = 0;
  for (const auto& [begin, end] : s_.split(kernel.parameters + 1, kernel.end)) {
    if (s_.is(begin, "void") && end == begin + 1) break;
    const std::vector<Attribute> given = s_.attributes(begin, end);
    const std::string type = "S::parameter<" + std::to_string(index++) + ">";
    list += list.empty() ? "" : ", ";
    const auto builtin = std::find_if(given.begin(), given.end(), [](const Attribute& a) {
      return kNumbers.count(a.name) || kPositions.count(a.name);
    });
    int places = 0;
    bool known = true;
    for (const Attribute& a : given) {
      if (a.name == "function_constant" || a.name == "maybe_unused") continue;
      if (++places > 1) s_.error(begin, name + ": " + a.name + " is a second attribute of place");
      if (!kNumbers.count(a.name) && !kPositions.count(a.name) && a.name != "buffer" &&
          a.name != "threadgroup") {
        s_.error(begin, name + ": unknown attribute " + a.name);
        known = false;
      }
    }
    if (!known) continue;
    if (builtin != given.end()) {
      const std::string its_type = builtin_type(s_, name, *builtin, begin, end);
      check_builtin_match(s_, name, builtin->name, its_type, begin, builtins);
      builtins.emplace(builtin->name, its_type);
      list += "::msl::" + builtin->name + "<" + type + ">()";
      continue;
    }
    const bool in_threadgroup = find(given, "threadgroup") != nullptr;
    const Attribute* place = find(given, in_threadgroup ? "threadgroup" : "buffer");
    const int slot = place ? parse_int(place->arguments).value_or(-1) : next_slot;
    if (slot < 0 || slot > kMaxSlot) {
      s_.error(begin, name + ": " +
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
    if (!used.insert(slot_name).second) s_.error(begin, name + ": a second " + slot_name);
    if (in_threadgroup) {
      const Set spaces = outer_spaces(s_, begin, end);
      if (!spaces.count("threadgroup"))
        s_.error(begin, name + ": '" + s_.bare_text(begin, end) +
                            "' is no pointer or reference to threadgroup memory");
      continue;
    }
    next_slot = slot + 1;
    info.buffers.push_back(describe_buffer(s_, name, slot, begin, end));
    info.buffers.back().optional = find(given, "function_constant") != nullptr;
  }
  return list;
}

}  // namespace cermet::metal::simulator
