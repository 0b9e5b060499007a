"""How a command of this project begins and ends. A module that is one says, before its imports, which take seconds:

    if __name__ == "__main__":
        command.run("lib.<module>")

so that Ctrl-C ends it in one line from its first moment on.
"""
import os
import signal
import sys
from importlib import import_module
from typing import NoReturn

INTERRUPTED = 130           # what a shell reports of a command that SIGINT ended


def run(module: str) -> NoReturn:
    """Import a module and exit with what its `main()` returns: None or 0 for success; with 130 after Ctrl-C or SIGTERM,
    and with 1 where an argument is not UTF-8, each told in one line. What a stream cannot encode is printed as `?`."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(errors="replace")
    for argument in sys.argv[1:]:
        try:
            argument.encode()
        except UnicodeEncodeError:
            sys.exit(f"the argument {os.fsencode(argument)!r} is not UTF-8")
    _handle(_leave)                                 # while modules are imported there is nothing to clean up
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


def _handle(handler) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:      # as a shell gives SIGINT to a job in the background
            signal.signal(number, handler)


def _leave(*_) -> NoReturn:
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)
