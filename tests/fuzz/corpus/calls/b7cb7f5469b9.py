# crash: SIGSEGV
use(utils.tree_map(tower(mx.compile)))
