# Finds the headers that the Python wheel nlohmann-json carries: the target NlohmannJson::NlohmannJson.
#
# Set NlohmannJson_INCLUDE_DIR to the folder of nlohmann/json.hpp to use another copy than Python's.
if(NOT NlohmannJson_INCLUDE_DIR)
  find_package(Python 3.10 COMPONENTS Interpreter QUIET)
  if(Python_FOUND)
    execute_process(
      COMMAND ${Python_EXECUTABLE} -c "import nlohmann_json as n; print(n.get_include())"
      OUTPUT_VARIABLE wheel OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
endif()
find_path(NlohmannJson_INCLUDE_DIR nlohmann/json.hpp HINTS ${wheel})
mark_as_advanced(NlohmannJson_INCLUDE_DIR)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  NlohmannJson REQUIRED_VARS NlohmannJson_INCLUDE_DIR
  REASON_FAILURE_MESSAGE "install it with: python -m pip install nlohmann-json")
if(NlohmannJson_FOUND AND NOT TARGET NlohmannJson::NlohmannJson)
  add_library(NlohmannJson::NlohmannJson INTERFACE IMPORTED)
  target_include_directories(NlohmannJson::NlohmannJson INTERFACE ${NlohmannJson_INCLUDE_DIR})
endif()
