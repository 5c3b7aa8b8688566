"""The command in processes that can be killed, and that are there at once.

They are forked from one that has imported everything and has not begun to compute.
"""

from contextlib import suppress
import multiprocessing
import os
import signal
import sys
import time

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        *("experiments.__main__", "killable", "optax", "rich.progress", "sklearn"),
        *("experiments.commands.agents", "experiments.commands.proportionality"),
        *("experiments.commands.stages", "experiments.commands.streams"),
        *("experiments.commands.sweep", "matplotlib.backends.backend_agg"),
    ]
)


class Command:
    """Processes in one folder, which share what is compiled.

    Args:
        folder: where they start.
        compiled: what they compile.
    """

    def __init__(self, folder, compiled):
        self.folder, self._compiled = folder, compiled

    def start(self, *words, often=False):
        """A process; it saves whenever it can if it is to do so often."""
        process = CONTEXT.Process(
            target=answer,
            args=(words, str(self.folder), str(self._compiled), often),
            daemon=True,  # Ends with the tests.
        )
        process.start()
        return process

    def run(self, *words, **options):
        """Its status."""
        process = self.start(*words, **options)
        return self.end(process)

    def end(self, process, seconds=300):
        """Waits for the end of a process; its status."""
        process.join(seconds)
        assert process.exitcode is not None, f"no end after {seconds} s"
        return process.exitcode

    @property
    def errors(self):
        """What the process that was started last has written there."""
        with suppress(FileNotFoundError):
            return (self.folder / "errors").read_text()
        return ""

    def appears(self, pattern, process):
        """Waits for a file, which a process is to make."""
        end = time.monotonic() + 120
        while not list(self.folder.glob(pattern)):
            assert process.is_alive(), self.errors
            assert time.monotonic() < end
            time.sleep(0.01)


def answer(words, folder, compiled, often):
    """The command, in a process of its own."""
    os.environ["XDG_CACHE_HOME"] = compiled
    os.chdir(folder)
    for number, target in ((1, os.devnull), (2, f"errors-{os.getpid()}")):
        os.dup2(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.replace(f"errors-{os.getpid()}", "errors")
    # Wherever the tests run, these may be ignored.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)

    from experiments.__main__ import main
    from experiments.training import checkpoint

    if often:
        checkpoint.SECONDS_BETWEEN = -1.0
    sys.exit(main(words))
