"""Progress with time left: a widget in a live notebook, sparse lines of text in a batch run."""
import os

from tqdm import tqdm
from tqdm.auto import tqdm as live_tqdm


def progress_bar(total: int, label: str, done: int = 0, unit: str = "step") -> tqdm:
    batch = bool(os.environ.get("TTS_BATCH"))
    make = tqdm if batch else live_tqdm
    return make(total=total, initial=done, desc=label, unit=unit, mininterval=10 if batch else 0.2,
                ncols=110 if batch else None)
