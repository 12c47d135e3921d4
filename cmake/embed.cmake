# Text files as C++: writes OUTPUT, a source that defines FUNCTION (a qualified name), declared in
# HEADER as
#   const std::vector<std::pair<std::string_view, std::string_view>>& FUNCTION();
# which gives the names (of ops/, with the folder) and contents of FILES.
#   cmake -DOUTPUT=... -DFUNCTION=... -DHEADER=... -DFILES=a;b -P embed.cmake
string(REGEX MATCH "^(.*)::([^:]*)$" _ ${FUNCTION})
set(namespace ${CMAKE_MATCH_1})
set(function ${CMAKE_MATCH_2})
set(type "std::vector<std::pair<std::string_view, std::string_view>>")
set(code "#include \"${HEADER}\"\n\n")
string(APPEND code "#include <string_view>\n#include <utility>\n#include <vector>\n\n")
string(APPEND code "namespace ${namespace} {\n\n")
string(APPEND code "const ${type}& ${function}() {\n  static const ${type} texts = {\n")
foreach(file ${FILES})
  get_filename_component(name ${file} NAME)
  if(file MATCHES "/(ops/[^/]+)$")
    set(name ${CMAKE_MATCH_1})
  endif()
  file(READ ${file} text)
  string(APPEND code "      {\"${name}\", R\"_text_(${text})_text_\"},\n")
endforeach()
string(APPEND code "  };\n  return texts;\n}\n\n}  // namespace ${namespace}\n")
file(WRITE ${OUTPUT} "${code}")
