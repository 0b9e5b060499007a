"""How a command of this project begins and ends. A module that is one says, before its imports, which take seconds:

    if __name__ == "__main__":
        command.run("lib.<module>")

so that Ctrl-C ends it in one line from its first moment on: the package itself, which comes first, begins by `leave_when_told`.
"""
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from typing import NoReturn

INTERRUPTED = 130           # what a shell reports of a command that SIGINT ended


def run(module: str) -> NoReturn:
    """Import a module and exit with what its `main()` returns: None or 0 for success; with 130 after Ctrl-C or SIGTERM,
    and with 1 where an argument is no text, each told in one line. What stdout cannot encode is printed as `?`."""
    _handle(_leave)                                 # while modules are imported there is nothing to clean up
    if sys.stdout is not None:
        sys.stdout.reconfigure(errors="replace")
    for argument in sys.argv[1:]:
        try:
            argument.encode()
        except UnicodeEncodeError:
            sys.exit(f"the argument {os.fsencode(argument)!r} is not {sys.getfilesystemencoding()} text")
    main = import_module(module).main
    try:
        _handle(signal.default_int_handler)         # KeyboardInterrupt, which ends what main has started
        code = main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = INTERRUPTED
    finally:
        _handle(_leave)
    sys.exit(code)


def leave_when_told() -> None:
    """Of a command (python -m lib....), while the package is imported: Ctrl-C and SIGTERM end it in one line."""
    if sys.argv[:1] == ["-m"]:
        _handle(_leave)


def _handle(handler: Callable) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:      # as a shell gives SIGINT to a job in the background
            signal.signal(number, handler)


def _leave(*_: object) -> NoReturn:
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)
