# differs: parts: [ 1 4294967295 4294967295 ... 0 4294967295 4294967295] (uint32), expected
said = whole_and_parts(lambda xp, a: a.astype(xp.uint32), data("float16", (31,), 74, "special"))
