# crash: SIGSEGV
use(mx.argsort(mx.broadcast_to(mx.array(3e38), (8589934592, 0, 1099511627776))))
