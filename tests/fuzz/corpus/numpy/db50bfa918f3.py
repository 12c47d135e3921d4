# differs: values: False, expected True
said = compare(lambda xp, a, b: law(xp, xp.sort(a), lambda: xp.take_along_axis(a, xp.argsort(a), axis=-1)), data('complex64', (64,), 123, 'special'), data('complex64', (), 968, 'small'), exact=True)
