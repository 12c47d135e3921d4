# differs: values: False, expected True
said = compare(lambda xp, a, b: np.asarray(xp.full((7, 7, 7, 7), 3)).flags.c_contiguous, data('uint8', (7, 7, 7, 7), 194, 'small'), data('uint8', (7, 7, 7, 7), 131, 'small'), exact=True)
