# crash: SIGSEGV
use((bare(optimizers.Adamax)).init_single(mx.broadcast_to(mx.array(np.ones((), 'M')[()]), (1, 1, 1, 1))))
