# crash: SIGSEGV
use(mx.async_eval(mx.ones((2, 2)), 1, deep(dict)))
