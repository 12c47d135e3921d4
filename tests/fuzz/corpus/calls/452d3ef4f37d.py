# crash: SIGSEGV
use(copy.deepcopy(cyclic(list)))
