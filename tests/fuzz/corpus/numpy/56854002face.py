# differs: sums that overflow
said = compare(lambda xp, a, b: xp.matmul(a, b), data('float32', (7, 7, 7, 7), 555, 'special'), data('float32', (7, 7, 7, 7), 711, 'special'), bound=1e9)
