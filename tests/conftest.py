"""What all tests share: one thread a process, as pytest runs two."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
