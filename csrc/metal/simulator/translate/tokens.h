// The tokens of a Metal source, with the white space, comments and directives before each.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "metal/simulator/translate.h"

namespace cermet::metal::simulator {

struct Token {
  enum class Kind { identifier, number, string, punctuation, end, removed };
  Kind kind;
  std::string text;    // rewritten in place
  std::string before;  // never lost, so that lines keep their numbers
  SourceLocation location;
};

// The last token is the end. Includes are dropped: Metal's own headers are always there.
std::vector<Token> tokenize(std::string_view source, const std::string& path,
                            std::vector<Diagnostic>& diagnostics);

// The text of [begin, end) without what stands before the first.
std::string text_of(const std::vector<Token>& tokens, std::size_t begin, std::size_t end);

}  // namespace cermet::metal::simulator
