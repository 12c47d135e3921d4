# crash: SIGSEGV
use(optimizers.Adam(np.ones((), 'm')[()]))
