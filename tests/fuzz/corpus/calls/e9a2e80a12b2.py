# crash: SIGSEGV
use(optimizers.AdamW(bare(mx.ArrayLike)))
