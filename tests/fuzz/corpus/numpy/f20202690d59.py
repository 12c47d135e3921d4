# differs: inf ulp: [ nan 0. 0. ... 0.625 nan -inf] (float32), expected [ nan 0. 0. ... 0.6
said = compare(lambda xp, a, b: xp.prod(a, axis=-2), data('float32', (5, 100), 928, 'special'), data('float32', (100, 5), 261, 'small'), bound=1e9)
