# differs: values: False, expected True
said = compare(lambda xp, a, b: np.asarray(xp.ones((33,))).flags.c_contiguous, data('uint32', (33,), 149, 'normal'), data('uint32', (33,), 720, 'normal'), exact=True)
