# error: MemoryError: std::bad_alloc
use(mx.minmax(mx.ones((8589934592, 2), mx.bool_)))
