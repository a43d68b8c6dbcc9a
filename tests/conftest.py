"""What all tests share: one thread a process, as pytest runs two, and interrupts that arrive."""

import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell starts background processes with SIGINT ignored, and theirs would be, too; some tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)
