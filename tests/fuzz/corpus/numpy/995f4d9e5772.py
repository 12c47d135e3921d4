# differs: raises ValueError: array: misaligned memory
said = compare(lambda xp, a, b: xp.asarray(foreign('uint64', 2)), data('int64', (2, 2), 875, 'special'), data('int64', (1, 31), 176, 'special'), exact=True)
