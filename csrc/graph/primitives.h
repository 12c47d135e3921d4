// All primitives, for those who take a graph of any.
#pragma once

#include "graph/primitives/algebra.h"
#include "graph/primitives/arithmetic.h"
#include "graph/primitives/creation.h"
#include "graph/primitives/custom.h"
#include "graph/primitives/movement.h"
#include "graph/primitives/views.h"
