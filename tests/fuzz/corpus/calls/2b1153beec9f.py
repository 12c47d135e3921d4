# crash: SIGSEGV
use(nn.GLU(deep(tuple)))
