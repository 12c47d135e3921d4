# Finds the OpenBLAS that the Python wheel scipy-openblas32 carries: the target ScipyOpenBLAS::ScipyOpenBLAS.
#
# Set ScipyOpenBLAS_ROOT to the folder with its include/ and lib/ to use another copy than Python's.
if(NOT ScipyOpenBLAS_ROOT)
  find_package(Python 3.10 COMPONENTS Interpreter QUIET)
  if(Python_FOUND)
    execute_process(
      COMMAND ${Python_EXECUTABLE} -c
              "import os, scipy_openblas32 as o; print(os.path.dirname(o.get_lib_dir()))"
      OUTPUT_VARIABLE wheel OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
endif()
find_path(ScipyOpenBLAS_INCLUDE_DIR cblas.h HINTS ${ScipyOpenBLAS_ROOT} ${wheel}
          PATH_SUFFIXES include NO_DEFAULT_PATH)
find_library(ScipyOpenBLAS_LIBRARY scipy_openblas HINTS ${ScipyOpenBLAS_ROOT} ${wheel}
             PATH_SUFFIXES lib NO_DEFAULT_PATH)
mark_as_advanced(ScipyOpenBLAS_INCLUDE_DIR ScipyOpenBLAS_LIBRARY)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  ScipyOpenBLAS REQUIRED_VARS ScipyOpenBLAS_LIBRARY ScipyOpenBLAS_INCLUDE_DIR
  REASON_FAILURE_MESSAGE "install it with: python -m pip install scipy-openblas32")
if(ScipyOpenBLAS_FOUND AND NOT TARGET ScipyOpenBLAS::ScipyOpenBLAS)
  add_library(ScipyOpenBLAS::ScipyOpenBLAS SHARED IMPORTED)
  set_target_properties(
    ScipyOpenBLAS::ScipyOpenBLAS
    PROPERTIES IMPORTED_LOCATION ${ScipyOpenBLAS_LIBRARY}
               INTERFACE_INCLUDE_DIRECTORIES ${ScipyOpenBLAS_INCLUDE_DIR})
endif()
