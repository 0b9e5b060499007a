"""Independent runs at once, each on one thread of a process of its own: two such do more than one of two threads."""
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

import torch

from ..models.build import DEVICE
from ..progress import progress_bar

Task = tuple    # a function of a module, and its arguments


def side_by_side(tasks: list[Task], label: str) -> None:
    """Do the tasks, as many at once as this process has threads, on a GPU one after the other. Fewer than two for each thread
    share the threads from the start: else most would wait for the last one. What one of them raises ends the others that have
    not begun."""
    if not tasks:
        return
    threads = torch.get_num_threads()
    at_once = 1 if DEVICE.type == "cuda" else len(tasks) if len(tasks) < 2 * threads else threads
    bar = progress_bar(len(tasks), label, unit="run")
    with ProcessPoolExecutor(at_once, multiprocessing.get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        try:
            for done in as_completed([pool.submit(*task) for task in tasks]):
                done.result()
                bar.update()
        except KeyboardInterrupt:
            for child in multiprocessing.active_children():         # each goes on from its checkpoint
                child.terminate()
            raise
        except BrokenProcessPool:
            raise RuntimeError(f"{label}: a process was killed, perhaps for want of memory; the same command goes on from "
                               "here") from None
        finally:
            pool.shutdown(cancel_futures=True)
    bar.close()
