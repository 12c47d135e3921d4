// Brackets, attributes, statements.
#include "metal/simulator/translate/source.h"

namespace cermet::metal::simulator {

const Attribute* find(const std::vector<Attribute>& attributes, std::string_view name) {
  const auto it = std::find_if(attributes.begin(), attributes.end(),
                               [&](const Attribute& a) { return a.name == name; });
  return it == attributes.end() ? nullptr : &*it;
}

Source::Source(const std::string& text, const std::string& path, bool strict)
    : strict(strict), tokens(tokenize(text, path, diagnostics)) {
  balanced = match_brackets();
  if (balanced) find_attributes();
}

std::string Source::bare_text(std::size_t begin, std::size_t end) const {
  std::string s;
  for (std::size_t i = begin; i < end; ++i)
    if (is_attribute(i))
      i = attribute_end.at(i) - 1;
    else if (!text(i).empty())
      s += (s.empty() || at(i).before.empty() ? "" : " ") + text(i);
  return s;
}

std::size_t Source::previous(std::size_t i) const {
  while (i-- > 0)
    if (tokens[i].kind != Token::Kind::removed) return i;
  return kNone;
}

std::string_view Source::previous_text(std::size_t i) const {
  const std::size_t p = previous(i);
  return p == kNone ? std::string_view(";") : std::string_view(tokens[p].text);
}

bool Source::is_closing(std::size_t i) const {
  return at(i).kind == Token::Kind::punctuation && (is(i, ")") || is(i, "]") || is(i, "}"));
}

std::size_t Source::closing_angle(std::size_t i) const {
  int depth = 0;
  for (std::size_t j = i; j < size() && !is(j, ";") && !is_closing(j) && !is(j, "{"); ++j) {
    if (is(j, "<")) ++depth;
    if (is(j, ">") && --depth == 0) return j;
    if (match[j] != kNone && match[j] > j) j = match[j];
  }
  return kNone;
}

std::size_t Source::end_of_statement(std::size_t i) const {
  for (; i < size() && !is(i, ";") && !is_closing(i); ++i)
    if (match[i] != kNone) i = match[i];
  return std::min(i, size());
}

std::size_t Source::start_of_declaration(std::size_t i) const {
  while (i > 0 && !is(i - 1, ";") && !is(i - 1, "}") && !is(i - 1, "{")) --i;
  return i;
}

std::vector<std::pair<std::size_t, std::size_t>> Source::split(std::size_t begin,
                                                               std::size_t end) const {
  std::vector<std::pair<std::size_t, std::size_t>> parts;
  std::size_t start = begin;
  for (std::size_t i = begin; i < end; ++i) {
    if (is(i, ",")) {
      parts.emplace_back(start, i);
      start = i + 1;
    } else if (is(i, "<") && i > begin && is_name(i - 1)) {
      const std::size_t close = closing_angle(i);
      if (close != kNone && close < end) i = close;
    } else if (match[i] != kNone && match[i] > i) {
      i = match[i];
    }
  }
  if (start < end) parts.emplace_back(start, end);
  return parts;
}

bool Source::in_function(std::size_t i) const {
  for (std::size_t p = parent[i]; p != kNone; p = parent[p])
    if (is(p, "{") && is(previous(p), ")")) return true;
  return false;
}

std::vector<Attribute> Source::attributes(std::size_t begin, std::size_t end) const {
  std::vector<Attribute> found;
  for (auto it = attribute_end.lower_bound(begin); it != attribute_end.end() && it->first < end;
       ++it) {
    for (const auto& [first, last] : split(it->first + 2, it->second - 2)) {
      std::size_t name = first;
      while (is(name + 1, "::")) name += 2;
      Attribute attribute{text(name), ""};
      if (is(name + 1, "(")) attribute.arguments = text_of(name + 2, match[name + 1]);
      if (name < last) found.push_back(std::move(attribute));
    }
  }
  return found;
}

void Source::error(std::size_t i, std::string message) {
  diagnostics.push_back({at(i).location, std::move(message)});
}

void Source::remove(std::size_t begin, std::size_t end) {
  for (std::size_t i = begin; i < std::min(end, size()); ++i) {
    tokens[i].text.clear();
    tokens[i].kind = Token::Kind::removed;
  }
}

std::string Source::assertion(const std::string& condition, const std::string& message) const {
  return strict ? "static_assert(" + condition + ", \"" + message + "\"); " : "";
}

bool Source::match_brackets() {
  match.assign(tokens.size(), kNone);
  parent.assign(tokens.size(), kNone);
  std::vector<std::size_t> open;
  for (std::size_t i = 0; i < size(); ++i) {
    parent[i] = open.empty() ? kNone : open.back();
    if (at(i).kind != Token::Kind::punctuation) continue;
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
      match[i] = open.back();
      match[open.back()] = i;
      open.pop_back();
    }
  }
  if (!open.empty()) error(open.back(), "'" + text(open.back()) + "' is never closed");
  return open.empty();
}

void Source::find_attributes() {
  for (std::size_t i = 0; i + 1 < size(); ++i) {
    if (is(i, "[") && is(i + 1, "[") && at(i + 1).before.empty() && match[i] == match[i + 1] + 1) {
      attribute_end[i] = match[i] + 1;
      i = match[i];
    }
  }
}

}  // namespace cermet::metal::simulator
