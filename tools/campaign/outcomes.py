"""What can become of a try, and the table of a campaign."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from tabulate import tabulate


class Outcome(Enum):
    """What became of a try; the value is the title of its column."""

    RIGHT = "right"
    REFUSED = "refused"
    OTHER = "other valid input"
    SKIPPED = "skipped"
    TRACEBACK = "traceback, crash"
    UNTOLD = "untold"
    HANG = "hang"
    SILENT = "silently different"
    CODE_RUN = "code run"
    OUTSIDE = "write outside"
    LOST = "lost result"
    LEFTOVER = "left behind"
    RESUME = "different after resume"


GOOD = frozenset({Outcome.RIGHT, Outcome.REFUSED, Outcome.OTHER, Outcome.SKIPPED})
MEANING = {
    Outcome.RIGHT: "the result equals that of the undisturbed run, byte for byte",
    Outcome.REFUSED: "exit status above 0, one line with the reason, no result under a final name",
    Outcome.OTHER: "the damaged file is as valid as the first: no checksum, length or rule tells",
    Outcome.TRACEBACK: "a traceback in what a user sees, or the process died",
    Outcome.UNTOLD: "exit status above 0 without one line that gives the reason",
    Outcome.HANG: "over 10 s, over 60 s for whole runs",
    Outcome.SILENT: "another result, though a checksum or a length of the file says that it is damaged",
    Outcome.LOST: "a file under a final name that is neither the older one nor the new one, whole",
    Outcome.LEFTOVER: "a process or an unfinished file that outlives a run which had time to clear up",
}


@dataclass(frozen=True, order=True)
class Try:
    """One try: everything random in it follows from its kind and its seed.

    Attributes:
        kind: Name of the kind, such as "kill-train".
        seed: The seed.
    """

    kind: str
    seed: int

    def __str__(self) -> str:
        return f"{self.kind}:{self.seed}"


@dataclass(frozen=True)
class Verdict:
    """The outcome of a try.

    Attributes:
        outcome: What became of it.
        detail: What was done and what was seen; for bad outcomes everything that helps to find the fault.
        seconds: How long the try took.
    """

    outcome: Outcome
    detail: str = ""
    seconds: float = 0.0

    @property
    def is_bad(self) -> bool:
        """Whether the campaign fails by it."""
        return self.outcome not in GOOD


_TRACEBACK = re.compile(r"^Traceback \(most recent call last\)|^--- Logging error ---", re.MULTILINE)
_REASON = re.compile(r"^[\w -]+: error: |^(?:\[[^\]]*\] )?ERROR |^interrupted$|^terminated$", re.MULTILINE)
_STACK_LINE = re.compile(r'^\s+File "[^"]+", line \d+, in ', re.MULTILINE)


def has_traceback(text: str) -> bool:
    """Return whether a user who reads `text` sees a traceback."""
    return bool(_TRACEBACK.search(text) or _STACK_LINE.search(text))


def has_reason(text: str) -> bool:
    """Return whether `text` has a line that gives the reason of a failure."""
    return bool(_REASON.search(text))


@dataclass
class Table:
    """The outcomes of a campaign by kind.

    Attributes:
        counts: Kind -> outcome -> number of tries.
        seconds: Kind -> seconds of all its tries.
    """

    counts: dict[str, Counter[Outcome]] = field(default_factory=lambda: defaultdict(Counter))
    seconds: Counter[str] = field(default_factory=Counter)

    def add(self, each: Try, verdict: Verdict) -> None:
        """Count a try."""
        self.counts[each.kind][verdict.outcome] += 1
        self.seconds[each.kind] += verdict.seconds

    @property
    def tries(self) -> int:
        """Number of tries."""
        return sum(counter.total() for counter in self.counts.values())

    @property
    def bad(self) -> int:
        """Number of tries with a bad outcome."""
        return sum(counter[outcome] for counter in self.counts.values() for outcome in set(Outcome) - GOOD)

    def render(self, order: Iterable[str]) -> str:
        """Return the table as text; kinds in `order` come in it."""
        kinds = [kind for kind in order if kind in self.counts]
        total: Counter[Outcome] = sum((self.counts[kind] for kind in kinds), Counter())
        rows = [[kind, *_cells(self.counts[kind], self.seconds[kind])] for kind in kinds]
        rows.append(["all", *_cells(total, sum(self.seconds[kind] for kind in kinds))])
        headers = ["kind", "tries", *(outcome.value for outcome in Outcome), "s a try"]
        notes = [f"  {outcome.value}: {text}" for outcome, text in MEANING.items()]
        wrapped = [re.sub(r"[ ,]+", "\n", header) for header in headers]
        return "\n".join([tabulate(rows, headers=wrapped, disable_numparse=True), "", *notes])


def _cells(counter: Counter[Outcome], seconds: float) -> list[str]:
    tries = counter.total()
    counts = [str(counter[outcome] or "-") for outcome in Outcome]
    return [str(tries), *counts, f"{seconds / max(tries, 1):.2f}"]
