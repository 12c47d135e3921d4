# crash: SIGSEGV
use(mx.take_along_axis(mx.random.normal((32, 64)), mx.zeros((1000000, 64), mx.int32), 1))
