// The translation: its passes one after the other, and the text they leave.
#include "metal/simulator/translate.h"

#include <charconv>
#include <cstdlib>
#include <limits>

#include "metal/simulator/translate/passes.h"

namespace cermet::metal::simulator {

const Set kScalars = {"bool",    "char",     "uchar",   "short",    "ushort",  "int",
                      "uint",    "long",     "ulong",   "half",     "float",   "bfloat",
                      "int8_t",  "uint8_t",  "int16_t", "uint16_t", "int32_t", "uint32_t",
                      "int64_t", "uint64_t", "size_t"};
const Set kSpaces = {"device", "threadgroup", "constant", "thread"};
bool is_vector_name(std::string_view name) {
  return name.size() > 1 && name.back() >= '2' && name.back() <= '4' &&
         kScalars.count(name.substr(0, name.size() - 1)) && name.find('_') == name.npos;
}

namespace {

// sum = product (('+' | '-') product)*, product = atom (('*' | '/') atom)*
class Integers {
 public:
  explicit Integers(std::string_view text) : rest_(text) {}
  std::optional<int> value() {
    const long result = sum();
    const bool fits = std::abs(result) <= std::numeric_limits<int>::max();
    return good_ && fits && peek() == '\0' ? std::optional<int>(result) : std::nullopt;
  }

 private:
  char peek() {
    rest_.remove_prefix(std::min(rest_.find_first_not_of(" \t\n"), rest_.size()));
    return rest_.empty() ? '\0' : rest_[0];
  }
  bool take(char c) {
    if (peek() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  long sum() {
    long result = product();
    while (good_ && (peek() == '+' || peek() == '-'))
      result = bounded(take('+') ? result + product() : (take('-'), result - product()));
    return result;
  }
  long product() {
    long result = atom();
    while (good_ && (peek() == '*' || peek() == '/')) {
      const bool times = take('*');
      if (!times) take('/');
      const long next = atom();
      good_ &= times || next != 0;
      if (good_) result = bounded(times ? result * next : result / next);
    }
    return result;
  }
  long atom() {
    if (++steps_ > 1000) good_ = false;  // as deep as it is long
    if (!good_) return 0;
    if (take('(')) {
      const long result = sum();
      good_ &= take(')');
      return result;
    }
    if (take('-')) return -atom();
    int number = 0;
    peek();
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), number);
    good_ &= error == std::errc();
    rest_.remove_prefix(end - rest_.data());
    if (!rest_.empty() && (rest_[0] == 'u' || rest_[0] == 'U')) rest_.remove_prefix(1);
    return number;
  }
  long bounded(long x) {
    good_ &= std::abs(x) <= std::numeric_limits<int>::max();
    return good_ ? x : 0;
  }

  std::string_view rest_;
  int steps_ = 0;
  bool good_ = true;
};

}  // namespace

std::optional<int> parse_int(std::string_view text) { return Integers(text).value(); }

namespace {

void assemble(const Source& source, const std::string& path, const std::string& prologue,
              const std::string& entries, Translation& out) {
  std::string& text = out.text;
  if (!prologue.empty()) text = "extern \"C\" { " + prologue + "}\n";
  text += "#line 1 \"" + path + "\"\n";
  std::size_t line_start = text.size();
  const SourceLocation* line = nullptr;
  int shift = 0;
  const auto append = [&](const std::string& s) {
    text += s;
    const std::size_t newline = s.rfind('\n');
    if (newline != s.npos) line_start = text.size() - s.size() + newline + 1;
  };
  for (std::size_t i = 0; i <= source.size(); ++i) {
    const Token& token = source.tokens[i];
    append(token.before);
    const auto inserted = source.inserted.find(i);
    if (inserted != source.inserted.end()) append(inserted->second);
    if (line == nullptr || line->line != token.location.line || line->file != token.location.file)
      shift = 0;
    line = &token.location;
    const int column = static_cast<int>(text.size() - line_start) + 1;
    if (token.location.column - column != shift) {
      shift = token.location.column - column;
      out.shifts.push_back({token.location.file, token.location.line, column, shift});
    }
    append(token.text);
  }
  text += entries + "\n";
}

}  // namespace

std::string to_string(const SourceLocation& location) {
  return location.file + ":" + std::to_string(location.line) + ":" +
         std::to_string(location.column);
}

SourceLocation Translation::original(SourceLocation location) const {
  int shift = 0;
  for (const ColumnShift& s : shifts)
    if (s.line == location.line && s.column <= location.column && s.file == location.file)
      shift = s.shift;
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
  Source s(source, path, strict);
  Translation out;
  std::string prologue, entries;
  if (s.balanced) {
    if (strict) check_words(s);
    rewrite_literals_and_names(s);
    Kernels kernels(s);
    prologue = function_constants(s, out.constants);
    threadgroup_variables(s, kernels);
    vectors(s);
    casts(s);
    struct_copies(s);
    constant_structs(s);
    function_arguments(s);
    address_spaces(s);
    if (strict) qualify_methods(s);
    entries = kernels.entry_points(out.kernels);
    for (const auto& [begin, end] : s.attribute_end) s.remove(begin, end);
  }
  assemble(s, path, prologue, entries, out);
  out.diagnostics = std::move(s.diagnostics);
  return out;
}

}  // namespace cermet::metal::simulator
