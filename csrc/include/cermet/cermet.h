// Everything an embedder needs.
#pragma once

#include "cermet/array.h"
#include "cermet/device.h"
#include "cermet/dtype.h"
#include "cermet/elementwise.h"
#include "cermet/eval.h"
#include "cermet/export.h"
#include "cermet/fast.h"
#include "cermet/fft.h"
#include "cermet/io.h"
#include "cermet/linalg.h"
#include "cermet/memory.h"
#include "cermet/ops.h"
#include "cermet/random.h"
#include "cermet/transforms.h"
