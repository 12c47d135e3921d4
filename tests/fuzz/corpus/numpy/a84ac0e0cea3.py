# differs: values: False, expected True
said = compare(lambda xp, a, b: np.asarray(xp.zeros((2, 7, 1, 3, 1), dtype=xp.uint16)).flags.c_contiguous, data('uint32', (0, 5, 7, 5, 5), 214, 'small'), data('uint32', (0, 5, 7, 5, 5), 857, 'normal'), exact=True)
