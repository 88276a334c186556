"""Mapping of a function over many files, in threads and with a progress bar."""

import os
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_files(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    title: str,
    workers: int | None = None,
    progress: bool = True,
    delay: float = 0.0,
) -> Generator[Result, None, None]:
    """Yield `function(item)` for each item, in the order of `items`.

    Threads are used, because reading, decoding and hashing release Python's lock, and because threads start
    the same way in a script, a notebook and beside a GPU. An exception of `function`, an interrupt or closing
    the iterator cancels the items that have not been started.

    Args:
        function: What to do with one item.
        items: File paths, pairs of them or the like.
        title: Text of the progress bar.
        workers: Number of threads; None: one per core, at most eight.
        progress: Whether to show a progress bar, in a terminal.
        delay: Seconds after which the bar appears.

    Yields:
        The results.
    """
    hidden = (
        None if progress else True
    )  # None hides it where no terminal is: it would run into lines of a log
    pool = ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1))
    try:
        results = pool.map(function, items)
        yield from tqdm(results, title, len(items), leave=False, unit=" pairs", delay=delay, disable=hidden)
    finally:
        pool.shutdown(cancel_futures=True)
