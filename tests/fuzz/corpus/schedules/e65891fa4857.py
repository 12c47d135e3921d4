# import: strap>:241: RuntimeWarning: nanobind: type 'Dtype' was already registered! <froz
# interrupted after None
import importlib, sys
print('begins', flush=True)
try:
    import cermet.core
except KeyboardInterrupt: pass
for _ in range(1):
    try:
        sys.modules.pop('cermet.core', None)
        import cermet.core
    except KeyboardInterrupt: pass
