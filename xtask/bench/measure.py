"""Runs a program, and prints its seconds and the peak of its resident memory in KiB: `measure.py PROGRAM ARGS…`.

Standard output of the program goes nowhere. (The peak is the kernel's, so it is at least that of this small script.)
"""

import os
import subprocess
import sys
import time

begun = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
seconds = time.perf_counter() - begun
if status != 0:
    sys.exit(f"{sys.argv[1]} failed: {status}")
print(seconds, usage.ru_maxrss // 1024 if sys.platform == "darwin" else usage.ru_maxrss)
