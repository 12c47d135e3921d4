# crash: SIGABRT Critical nanobind error: encountered an unrecoverable error condition. R
use(mx.reshape(mx.zeros((), mx.float16), (1,) * 1000))
