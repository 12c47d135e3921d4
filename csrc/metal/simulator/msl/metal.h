// Metal's standard library for clang's C++ for OpenCL, which stands in for the Metal language: it
// has the same address spaces, vectors and half. Put before every translated source.
#pragma once
#pragma clang system_header

// Each builds on those before it.
// clang-format off
#include "macros.h"
#include "types.h"
#include "traits.h"
#include "vectors.h"
#include "limits.h"
#include "execution.h"
#include "relational.h"
#include "math.h"
#include "integer.h"
#include "geometric.h"
#include "simdgroup.h"
#include "simdgroup_matrix.h"
#include "atomics.h"
#include "packing.h"
#include "thunks.h"
#include "support.h"
#include "instrumentation.h"
// clang-format on
