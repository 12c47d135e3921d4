# differs: raises ValueError: arange: cannot count from -18446744073709551616.000000 to -25
said = compare(lambda xp, a, b: xp.arange(-18446744073709551616, -257 + 3, 2, dtype=xp.int64)[:9], data('float64', (7, 7, 7), 884, 'small'), data('float64', (2, 4, 2, 7, 0), 739, 'special'), exact=True)
