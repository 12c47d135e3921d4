# error: UnicodeDecodeError: 'utf-8' codec can't decode byte 0xbb in position 210: invali
use(mx.load(saved(lambda p: mx.save_safetensors(p, {'a': mx.random.normal((7, 7))}), '.safetensors', None, [(-37, 171), (-98, 81), (31, 187)])))
