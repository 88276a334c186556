"""What the users of a page may ask of the machine behind it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of a page.

    Attributes:
        upload_bytes: Largest file that is taken.
        pixels: Most pixels of an image.
        sessions: Most open pages at a time, each with one upload and one result.
        waiting: Most requests in the queue for the model, which computes one at a time.
        classes: Most class names of a request.
        windows: Most windows of a scene where their side is asked for; what suits the model has no limit.
        idle_seconds: After so long without a request, a page makes room for others.
    """

    upload_bytes: int = 200 * 2**20
    pixels: int = 100_000_000
    sessions: int = 32
    waiting: int = 16
    classes: int = 100
    windows: int = 25_000
    idle_seconds: float = 3600.0
