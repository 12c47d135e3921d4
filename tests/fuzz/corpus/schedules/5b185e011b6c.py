# exit: terminate called without an active exception
import os, pickle, signal, sys, tempfile, threading, time
import numpy as np
import cermet.core as mx
path = tempfile.mkdtemp() + "/x"
mx.random.seed(98)
w = mx.random.normal((700, 700)) * 0.01
a = [mx.random.normal((700, 700)) for _ in range(4)]
mx.eval(w, a)
for _ in range(5): a[0] = mx.tanh(a[0] @ w)
def work_1():
    a[0].sum().item()
    str(a[1])
    mx.async_eval(a[1] @ w @ w)
def work_2():
    a[1] += 1
    str(a[2])
def safely(work):
    try:
        work()
    except (RuntimeError, ValueError) as error:
        if "fork" not in str(error): raise
threading.Thread(target=lambda: [work_1() for _ in range(200)], daemon=True).start()
