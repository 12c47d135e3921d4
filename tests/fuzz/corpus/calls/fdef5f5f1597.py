# crash: SIGABRT Critical nanobind error: encountered an unrecoverable error condition. R
x = mx.ones((1,) * 1000, mx.bool_)
consumed(str, x)
