# crash: SIGSEGV
use(utils.tree_unflatten((mx.full((0, 2, 2, 1), complex(0.0, 1e30)), mx.ones((1, 2, 2, 0), mx.bfloat16), mx.array(np.zeros((), 'M')[()])[...])))
