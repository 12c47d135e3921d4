// Files: npy, safetensors and GGUF. Errors (std::runtime_error) name the file and what is wrong.
#pragma once

#include <functional>
#include <istream>
#include <map>
#include <ostream>
#include <string>
#include <variant>

#include "cermet/array.h"

namespace cermet {

using ArrayMap = std::map<std::string, array>;
using StringMap = std::map<std::string, std::string>;

void save(const std::string& path, const array& a);
void save(std::ostream& out, const array& a);
array load(const std::string& path);
array load(std::istream& in, const std::string& name);

void save_safetensors(const std::string& path, const ArrayMap& arrays,
                      const StringMap& metadata = {});
void save_safetensors(std::ostream& out, const ArrayMap& arrays, const StringMap& metadata = {});
// The arrays share the mapped file where the system allows it.
std::pair<ArrayMap, StringMap> load_safetensors(const std::string& path);
std::pair<ArrayMap, StringMap> load_safetensors(std::istream& in, const std::string& name);

}  // namespace cermet
