# error: RuntimeError: std::bad_cast base.py:402
use((nn.TransformerEncoder(4, 1, 1, 2)).load_weights('a\ud800.npy', True))
