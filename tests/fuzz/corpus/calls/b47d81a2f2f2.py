# crash: SIGSEGV
use(mx.silu(((ctypes.c_int * 2) * 3)()))
