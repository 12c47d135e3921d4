# crash: SIGSEGV
use((bare(mx.array)).__iand__(1))
