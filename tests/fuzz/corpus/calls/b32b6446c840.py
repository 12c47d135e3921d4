# crash: SIGABRT arameter number 3 had an illegal value ** On entry to SGEHRD parameter n
use(mx.linalg.eigvals(mx.full((3, 3), -inf).T))
