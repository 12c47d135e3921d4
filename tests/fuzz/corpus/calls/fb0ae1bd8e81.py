# crash: SIGABRT Critical nanobind error: encountered an unrecoverable error condition. R
use(mx.flip(mx.ones((1,) * 1000, mx.int8)))
