# crash: SIGABRT Critical nanobind error: encountered an unrecoverable error condition. R
x = mx.ones((0,) * 1000, mx.bfloat16)
consumed(reprlib.repr, x)
