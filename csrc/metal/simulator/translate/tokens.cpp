// The lexer: one pass over the text, which follows line markers to know where a token comes from.
#include "metal/simulator/translate/tokens.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>

namespace cermet::metal::simulator {
namespace {

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }
bool is_digit(char c) { return std::isdigit(static_cast<unsigned char>(c)); }
bool is_space(char c) { return std::isspace(static_cast<unsigned char>(c)); }

// Longest first. "]]" and ">>" close two brackets as often as one, so they are two tokens.
constexpr std::array<std::string_view, 23> kOperators = {
    "<<=", ">>=", "...", "->*", "::", "->", "++", "--", "<<", "<=", ">=", "==",
    "!=",  "&&",  "||",  "+=",  "-=", "*=", "/=", "%=", "&=", "|=", "^="};

class Lexer {
 public:
  Lexer(std::string_view source, const std::string& path, std::vector<Diagnostic>& diagnostics)
      : source_(source), diagnostics_(diagnostics) {
    location_ = {path, 1, 1};
  }

  std::vector<Token> run() {
    std::vector<Token> tokens;
    for (;;) {
      std::string before = skip();
      Token token{Token::Kind::end, "", std::move(before), location_};
      if (at_ < source_.size()) {
        const std::size_t length = measure(token.kind);
        token.text = source_.substr(at_, length);
        advance(length);
      }
      tokens.push_back(std::move(token));
      if (tokens.back().kind == Token::Kind::end) return tokens;
    }
  }

 private:
  char peek(std::size_t ahead = 0) const {
    return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0';
  }
  bool starts(std::string_view s) const { return source_.substr(at_).substr(0, s.size()) == s; }

  void advance(std::size_t count) {
    for (const char c : source_.substr(at_, count)) {
      location_.column = c == '\n' ? 1 : location_.column + 1;
      location_.line += c == '\n';
    }
    at_ += count;
  }

  // White space, comments and directives.
  std::string skip() {
    std::string skipped;
    const auto take = [&](std::size_t count) {
      skipped += source_.substr(at_, count);
      advance(std::min(count, source_.size() - at_));
    };
    while (at_ < source_.size()) {
      if (is_space(peek())) {
        take(1);
      } else if (starts("\\\n")) {
        take(2);
      } else if (starts("//")) {
        take(std::min(source_.find('\n', at_), source_.size()) - at_);
      } else if (starts("/*")) {
        const std::size_t end = source_.find("*/", at_ + 2);
        if (end == std::string_view::npos)
          diagnostics_.push_back({location_, "unterminated comment"});
        take(end == std::string_view::npos ? source_.size() - at_ : end + 2 - at_);
      } else if (peek() == '#' && first_of_line()) {
        directive(skipped);
      } else {
        break;
      }
    }
    return skipped;
  }

  bool first_of_line() const {
    std::size_t i = at_;
    while (i > 0 && (source_[i - 1] == ' ' || source_[i - 1] == '\t')) --i;
    return i == 0 || source_[i - 1] == '\n';
  }

  void directive(std::string& skipped) {
    std::size_t end = at_;
    while (end < source_.size() && source_[end] != '\n')
      end += source_[end] == '\\' && end + 1 < source_.size() ? 2 : 1;
    end = std::min(end, source_.size());
    std::string_view line = source_.substr(at_, end - at_);
    const bool include = line.find("include") != std::string_view::npos &&
                         line.find_first_not_of("# \t") == line.find("include");
    // The preprocessor leaves macros in it as they are; it changes no result.
    const bool unroll = line.find("unroll") != std::string_view::npos &&
                        line.substr(line.find_first_not_of("# \t")).starts_with("pragma unroll");
    if (!include && !unroll) skipped += line;
    advance(end - at_);
    line_marker(line);
  }

  // `# 12 "file"` and `#line 12 "file"` say where the next line comes from.
  void line_marker(std::string_view line) {
    line.remove_prefix(std::min(line.find_first_not_of("# \t"), line.size()));
    if (line.substr(0, 5) == "line ") line.remove_prefix(5);
    int number = 0;
    const auto [rest, error] = std::from_chars(line.data(), line.data() + line.size(), number);
    if (error != std::errc()) return;
    location_.line = number - 1;
    const std::size_t open = line.find('"'), close = line.rfind('"');
    if (open < close) location_.file = line.substr(open + 1, close - open - 1);
  }

  std::size_t measure(Token::Kind& kind) {
    const char c = peek();
    std::size_t n = 1;
    if (is_digit(c) || (c == '.' && is_digit(peek(1)))) {
      kind = Token::Kind::number;
      const auto exponent = [&](std::size_t i) {
        return (peek(i) == '+' || peek(i) == '-') &&
               std::string_view("eEpP").find(peek(i - 1)) != std::string_view::npos;
      };
      while (is_word(peek(n)) || peek(n) == '.' || (peek(n) == '\'' && is_word(peek(n + 1))) ||
             exponent(n)) {
        ++n;
      }
    } else if (is_word(c)) {
      kind = Token::Kind::identifier;
      while (is_word(peek(n))) ++n;
    } else if (c == '"' || c == '\'') {
      kind = Token::Kind::string;
      while (peek(n) != c && peek(n) != '\n' && peek(n) != '\0') n += peek(n) == '\\' ? 2 : 1;
      if (peek(n) != c) diagnostics_.push_back({location_, "unterminated string"});
      ++n;
      n = std::min(n, source_.size() - at_);
    } else {
      kind = Token::Kind::punctuation;
      const auto found =
          std::find_if(kOperators.begin(), kOperators.end(), [&](auto s) { return starts(s); });
      if (found != kOperators.end()) n = found->size();
    }
    return n;
  }

  std::string_view source_;
  std::vector<Diagnostic>& diagnostics_;
  std::size_t at_ = 0;
  SourceLocation location_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source, const std::string& path,
                            std::vector<Diagnostic>& diagnostics) {
  return Lexer(source, path, diagnostics).run();
}

std::string text_of(const std::vector<Token>& tokens, std::size_t begin, std::size_t end) {
  std::string text;
  for (std::size_t i = begin; i < end; ++i) {
    if (i != begin) text += tokens[i].before;
    text += tokens[i].text;
  }
  return text;
}

}  // namespace cermet::metal::simulator
