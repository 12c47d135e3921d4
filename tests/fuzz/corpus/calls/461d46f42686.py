# crash: SIGABRT Critical nanobind error: encountered an unrecoverable error condition. R
use(mx.broadcast_to(1, (1,) * 1000))
