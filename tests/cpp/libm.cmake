# Nothing but float64 calls the C library's mathematics: no undefined symbol of LIBRARY is one of its
# functions of float or of complex numbers.
#   cmake -DNM=... -DLIBRARY=... -P libm.cmake
execute_process(COMMAND ${NM} -u ${LIBRARY} OUTPUT_VARIABLE symbols ERROR_QUIET
                COMMAND_ERROR_IS_FATAL ANY)
set(real "a?sinh?|a?cosh?|a?tanh?|atan2|exp|exp2|expm1|log|log2|log10|log1p|logb|pow|erf|erfc|fmod")
set(real "${real}|remainder|hypot|cbrt|floor|ceil|trunc|rint|nearbyint|round|fma|ldexp|scalbn")
set(complex "cabs|carg|ca?sinh?|ca?cosh?|ca?tanh?|cexp|clog|csqrt|cpow")
string(REGEX MATCHALL " U _?((${real})f|(${complex})f?)\n" found "${symbols}")
if(found)
  message(FATAL_ERROR "of the C library's mathematics are called:\n${found}")
endif()
