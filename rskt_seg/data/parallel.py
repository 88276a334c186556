"""Work on many files at once, in threads, with a progress bar."""

import os
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tqdm import tqdm


def over_files(
    function: Callable[[Any], Any],
    items: Sequence,
    title: str,
    workers: int | None = None,
    progress: bool = True,
    delay: float = 0.0,
) -> Generator[Any, None, None]:
    """`function(item)` of each item, in the order of `items`.

    Threads, because reading, decoding and hashing release Python's lock, and because threads start the
    same way in a script, a notebook and beside a GPU. `workers` None takes one for each core, at most
    eight. The bar called `title` appears after `delay` seconds. An exception of `function`, an interrupt
    or giving up the iteration ends the work: what has not begun is left.
    """
    pool = ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1))
    try:
        results = pool.map(function, items)
        yield from tqdm(
            results, title, len(items), leave=False, unit=" pairs", delay=delay, disable=not progress
        )
    finally:
        pool.shutdown(cancel_futures=True)
