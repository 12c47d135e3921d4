// Operators between a vector and a scalar of greater rank, such as half4 * float. Which these are
// only the compiler knows: it tells where they are, and they are rewritten then.
#include <algorithm>
#include <charconv>
#include <functional>
#include <map>
#include <set>

#include "metal/simulator/translate.h"

namespace cermet::metal::simulator {
namespace {

using Place = std::pair<std::string, int>;  // file and line

// `#line 12 "file"` says where the next line comes from.
bool follow_marker(std::string_view line, Place& next) {
  if (line.empty() || line[0] != '#') return false;
  line.remove_prefix(std::min(line.find_first_not_of("# "), line.size()));
  if (line.starts_with("line ")) line.remove_prefix(5);
  int number = 0;
  const auto [rest, error] = std::from_chars(line.data(), line.data() + line.size(), number);
  if (error != std::errc()) return false;
  next.second = number;
  const std::size_t open = line.find('"'), close = line.rfind('"');
  if (open < close) next.first = line.substr(open + 1, close - open - 1);
  return true;
}

// The operator at the beginning of the text, or nothing.
std::string_view operator_at(std::string_view text) {
  static constexpr std::string_view kOperators[] = {
      "<<=", ">>=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<", ">>", "<=",
      ">=",  "==",  "!=", "+",  "-",  "*",  "/",  "%",  "&",  "|",  "^",  "<",  ">"};
  for (const std::string_view op : kOperators)
    if (text.starts_with(op)) return op;
  return {};
}

bool assigns(std::string_view op) {
  return op.back() == '=' && op != "==" && op != "!=" && op != "<=" && op != ">=";
}

// A line of the translated text while it is rewritten, from its end to its beginning.
class Line {
 public:
  Line(std::string& text, const Place& place, std::vector<Translation::ColumnShift>& shifts)
      : text_(text), place_(place), shifts_(shifts) {}

  // What is at the place becomes an operation that converts. False where nothing is known of it.
  bool rewrite(std::size_t at) {
    if (at >= text_.size()) return false;
    if (text_[at] == '?') return rewrite_choice(at);
    const std::string_view op = operator_at(std::string_view(text_).substr(at));
    if (op.empty()) return false;
    insert(at + op.size(), " ::msl::narrow() " + std::string(assigns(op) ? "=" : op) + " ");
    return true;
  }

 private:
  // a ? b : c
  bool rewrite_choice(std::size_t at) {
    const std::size_t colon = end_of_operand(at + 1);
    if (colon >= text_.size() || text_[colon] != ':') return false;
    const std::size_t end = end_of_operand(colon + 1);
    const std::string b = text_.substr(at + 1, colon - at - 1);
    const std::string c = text_.substr(colon + 1, end - colon - 1);
    insert(end, ")");
    insert(colon + 1, " ::msl::alike<decltype(" + b + ")>(");
    insert(colon, ")");
    insert(at + 1, " ::msl::alike<decltype(" + c + ")>(");
    return true;
  }

  // Where an operand of ?: ends: at the ':' of this one, or at what closes or separates.
  std::size_t end_of_operand(std::size_t i) const {
    int depth = 0, choices = 0;
    for (; i < text_.size(); ++i) {
      const char c = text_[i];
      if (c == ':' && i + 1 < text_.size() && text_[i + 1] == ':') {
        ++i;
        continue;
      }
      if (c == '(' || c == '[' || c == '{') ++depth;
      if (depth == 0 && (c == ',' || c == ';')) return i;
      if ((c == ')' || c == ']' || c == '}') && --depth < 0) return i;
      if (depth == 0 && c == '?') ++choices;
      if (depth == 0 && c == ':' && --choices < 0) return i;
    }
    return i;
  }

  // Columns from here on are the source's, less what was inserted.
  void insert(std::size_t at, const std::string& inserted) {
    text_.insert(at, inserted);
    const int length = static_cast<int>(inserted.size()), after = static_cast<int>(at) + 1;
    Translation::ColumnShift shift{place_.first, place_.second, after + length, -length};
    auto next = shifts_.end();
    for (auto s = shifts_.begin(); s != shifts_.end(); ++s) {
      if (s->file != place_.first || s->line != place_.second) continue;
      if (s->column < after) {
        shift.shift = s->shift - length;
        next = s + 1;
      } else {
        s->column += length;
        s->shift -= length;
        if (next == shifts_.end()) next = s;
      }
    }
    shifts_.insert(next, std::move(shift));
  }

  std::string& text_;
  const Place& place_;
  std::vector<Translation::ColumnShift>& shifts_;
};

}  // namespace

bool narrow_scalars(Translation& translation, const std::vector<SourceLocation>& operators) {
  std::map<Place, std::set<int, std::greater<>>> columns;
  for (const SourceLocation& l : operators) columns[{l.file, l.line}].insert(l.column);
  std::string text;
  Place place;
  bool changed = false;
  for (std::size_t at = 0; at < translation.text.size();) {
    const std::size_t end = std::min(translation.text.find('\n', at), translation.text.size());
    std::string line = translation.text.substr(at, end - at);
    at = end + 1;
    if (!follow_marker(line, place)) {
      Line rewritten(line, place, translation.shifts);
      if (const auto here = columns.find(place); here != columns.end())
        for (const int column : here->second)
          changed |= column > 0 && rewritten.rewrite(static_cast<std::size_t>(column) - 1);
      ++place.second;
    }
    text += line;
    text += '\n';
  }
  translation.text = std::move(text);
  return changed;
}

}  // namespace cermet::metal::simulator
