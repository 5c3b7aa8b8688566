"""How much memory this process has needed."""

from pathlib import Path
import resource
import sys


def largest_memory():
    """Largest resident memory of this process so far, in bytes."""
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # On Linux getrusage also counts the process that started this one.
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])
