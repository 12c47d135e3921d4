# crash: SIGSEGV
use(nn.Sequential(parent_and_child()))
