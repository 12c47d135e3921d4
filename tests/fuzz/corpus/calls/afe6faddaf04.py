# crash: SIGSEGV
use(mx.reciprocal((ctypes.c_ubyte * 0)()))
