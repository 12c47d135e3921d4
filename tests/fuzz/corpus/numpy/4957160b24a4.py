# differs: values: [ 0 65025 0] (uint32), expected [ 0 255 0] (uint32)
said = compare(lambda xp, a, b: a ** True, data('uint32', (3,), 865, 'special'), data('uint32', (), 594, 'special'), bound=8)
