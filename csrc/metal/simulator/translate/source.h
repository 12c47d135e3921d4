// A Metal source while it is rewritten: its tokens and their structure. Tokens are rewritten or
// emptied in place, never moved, so that bracket pairs found at first hold to the end; text between
// tokens is kept apart.
#pragma once

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "metal/simulator/translate/tokens.h"

namespace cermet::metal::simulator {

using Set = std::set<std::string_view>;
inline constexpr std::size_t kNone = static_cast<std::size_t>(-1);

struct Attribute {
  std::string name, arguments;
};

// The one of that name, or null.
const Attribute* find(const std::vector<Attribute>& attributes, std::string_view name);

class Source {
 public:
  Source(const std::string& text, const std::string& path, bool strict);

  // ---- Looking at tokens ------------------------------------------------------------------------
  const Token& at(std::size_t i) const { return tokens[std::min(i, tokens.size() - 1)]; }
  const std::string& text(std::size_t i) const { return at(i).text; }
  bool is(std::size_t i, std::string_view s) const { return at(i).text == s; }
  bool is_name(std::size_t i) const { return at(i).kind == Token::Kind::identifier; }
  std::size_t size() const { return tokens.size() - 1; }  // without the end
  std::string text_of(std::size_t begin, std::size_t end) const {
    return simulator::text_of(tokens, begin, end);
  }
  // The text of [begin, end) without attributes.
  std::string bare_text(std::size_t begin, std::size_t end) const;
  // The nearest token before i that has not been removed.
  std::size_t previous(std::size_t i) const;
  std::string_view previous_text(std::size_t i) const;

  // ---- Structure --------------------------------------------------------------------------------
  std::size_t closing(std::size_t i) const { return i < size() ? match[i] : size(); }
  bool is_closing(std::size_t i) const;
  // The '>' of the '<' at i, or kNone where it is less-than.
  std::size_t closing_angle(std::size_t i) const;
  // Where the statement that i is in ends: its ';', or the bracket that closes around it.
  std::size_t end_of_statement(std::size_t i) const;
  std::size_t start_of_declaration(std::size_t i) const;
  // The parts of [begin, end) between commas, as ranges.
  std::vector<std::pair<std::size_t, std::size_t>> split(std::size_t begin, std::size_t end) const;
  bool in_function(std::size_t i) const;
  bool is_attribute(std::size_t i) const { return attribute_end.count(i) != 0; }
  // The attributes written in [begin, end).
  std::vector<Attribute> attributes(std::size_t begin, std::size_t end) const;

  // ---- Rewriting --------------------------------------------------------------------------------
  void error(std::size_t i, std::string message);
  void remove(std::size_t begin, std::size_t end);
  // Between tokens, so that the text of this one can still be recognised.
  void insert_before(std::size_t i, const std::string& s) { inserted[std::min(i, size())] += s; }
  // What only a check asserts: the simulator finds out when it runs.
  std::string assertion(const std::string& condition, const std::string& message) const;

  const bool strict;
  bool balanced = false;  // brackets match, and attributes have been found
  std::vector<Diagnostic> diagnostics;
  std::vector<Token> tokens;
  std::vector<std::size_t> match, parent;            // the other bracket, and the one around
  std::map<std::size_t, std::size_t> attribute_end;  // [[...]]: the token after, by the first
  std::map<std::size_t, std::string> inserted;       // before a token

 private:
  bool match_brackets();
  void find_attributes();
};

}  // namespace cermet::metal::simulator
