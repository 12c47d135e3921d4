# differs: inf ulp: [[ 0. 0. inf 0.] [inf 0. -1. 0.] [inf 0. 0. nan] [nan 0. 0. 0.]] (float
said = compare(lambda xp, a, b: floored(operator.floordiv, a, 5), data('float16', (4, 4), 113, 'special'), data('float16', (), 734, 'special'), bound=8)
