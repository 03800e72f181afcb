"""One thread for every test and every notebook kernel: two workers share two cores, and a run of
one thread is the one that the stored outputs come from. GPTLIB_TEST_THREADS overrules it."""

import os
import tempfile

from hypothesis import settings

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = os.environ.get("GPTLIB_TEST_THREADS", "1")

# Jupyter and matplotlib keep files in the home folder, which need not be there.
if not os.access(os.path.expanduser("~"), os.W_OK):
    elsewhere = tempfile.mkdtemp(prefix="gptlib-tests-")
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
        os.environ.setdefault(name, elsewhere)
    os.environ.setdefault("MPLCONFIGDIR", elsewhere)

# No example has a deadline: a test that fails on a busy machine tells nothing. The examples are
# the same every time; the campaigns under bench/ look for new ones.
settings.register_profile("book", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("book")
