# crash: SIGSEGV
use(utils.tree_unflatten(cyclic(dict)))
