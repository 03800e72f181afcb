"""One thread for every test and every notebook kernel: two workers share two cores, and a run of
one thread is the one that the stored outputs come from."""

import os

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
