// The passes over a source, in the order in which they run.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "metal/simulator/translate.h"
#include "metal/simulator/translate/source.h"

namespace cermet::metal::simulator {

inline constexpr int kMaxSlot = 30, kMaxThreads = 1024, kMaxThreadgroupBytes = 32768;

extern const Set kScalars, kSpaces;  // names of types, and words of address spaces
bool is_vector_name(std::string_view name);
// The value of an expression of integers with + - * / and parentheses.
std::optional<int> parse_int(std::string_view text);

// Words of OpenCL, and attributes that Metal has not, are errors.
void check_words(Source& source);
void rewrite_literals_and_names(Source& source);

// Kernels: found first; once their text has been translated, each gets an entry point.
class Kernels {
 public:
  explicit Kernels(Source& source);
  // Whether a token is in a kernel's body.
  bool contain(std::size_t i) const;
  // Text of an exported function for each kernel, which fetches its arguments.
  std::string entry_points(std::vector<Translation::Kernel>& described);

 private:
  struct Kernel {
    std::size_t name, parameters, end;  // tokens: '(' and ')' of the parameters
    std::string max_threads;            // an expression, or empty
  };
  struct Instance {
    std::string host_name, expression;
    std::size_t where;                    // token
    std::vector<std::string> parameters;  // where they are written
  };

  std::size_t explicit_instantiation(std::size_t begin);
  std::size_t kernel_definition(std::size_t begin);
  const Kernel* chosen(const std::vector<Kernel>& overloads, const Instance& instance) const;
  std::string kernel_arguments(const std::string& name, const Kernel& kernel,
                               Translation::Kernel& info);

  Source& s_;
  std::map<std::string, std::vector<Kernel>> kernels_;
  std::vector<Instance> instances_;
  std::vector<std::pair<std::size_t, std::size_t>> bodies_;
};

// Function constants become variables that are set before a launch. Gives their declarations.
std::string function_constants(Source& source, std::vector<Translation::Constant>& described);
// Threadgroup variables become references to memory that the engine has.
void threadgroup_variables(Source& source, const Kernels& kernels);
// Constructors of vectors, and lists in braces, become calls.
void vectors(Source& source);
// Casts, copies of structs and address spaces, which OpenCL is stricter about.
void casts(Source& source);
void struct_copies(Source& source);
void constant_structs(Source& source);
void function_arguments(Source& source);
void address_spaces(Source& source);
// A method without an address space is a method of objects in thread memory.
void qualify_methods(Source& source);

}  // namespace cermet::metal::simulator
