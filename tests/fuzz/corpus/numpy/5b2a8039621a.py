# differs: gives False, expected ValueError: high is out of bounds for uint32
said = compare(lambda xp, a, b: within(xp, 4611686018427387905, 288230376151711745, 'uint32'), data('uint64', (3, 3, 3, 3), 704, 'special'), data('uint64', (3, 3, 3, 3), 804, 'small'), exact=True)
