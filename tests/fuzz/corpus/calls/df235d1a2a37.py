# crash: SIGSEGV
use(utils.tree_map(lambda *a: a, 1, 1, 1, cyclic(tuple)))
