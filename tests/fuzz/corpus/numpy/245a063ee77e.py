# differs: type float32, expected object
said = compare(lambda xp, a, b: xp.arange(1e4, 3, -1267650600228229401496703205376)[:9], data('int32', (7, 7, 7, 7), 953, 'normal'), data('int32', (7, 7, 7, 7), 695, 'special'), exact=True)
