// Metal's standard library for clang's C++ for OpenCL, which stands in for the Metal language: it
// has the same address spaces, vectors and half. Put before every translated source.
#pragma once
#pragma clang system_header

#include "atomics.h"
#include "execution.h"
#include "geometric.h"
#include "instrumentation.h"
#include "integer.h"
#include "limits.h"
#include "macros.h"
#include "math.h"
#include "packing.h"
#include "relational.h"
#include "simdgroup.h"
#include "simdgroup_matrix.h"
#include "support.h"
#include "thunks.h"
#include "traits.h"
#include "types.h"
#include "vectors.h"
