"""What was seen of a machine, and what follows from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

Level = Literal["ok", "note", "problem"]
OK: Level = "ok"
NOTE: Level = "note"
PROBLEM: Level = "problem"


class Finding(NamedTuple):
    """One line of the report.

    Attributes:
        level: "ok"; "note": something is absent or unusual, and what does not need it works; "problem".
        subject: What it is about, such as "torchvision".
        text: What was found.
        cure: The command or the setting that cures it; "" where nothing is to be done.
    """

    level: Level
    subject: str
    text: str
    cure: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a probe, which ran in a process of its own.

    Attributes:
        facts: What it found, by name.
        error: Why it failed, in one line, such as "ImportError: libGL.so.1: cannot open shared object file";
            "" if it did not.
        said: Warnings, and what libraries wrote to standard error.
    """

    facts: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    said: str = ""


@dataclass(frozen=True)
class Environment:
    """What findings are computed from.

    Attributes:
        python: Version of the interpreter, such as "3.11.4".
        installed: Version of each installed distribution, by its name in lower case with hyphens.
        requirements: What distributions require, as their metadata state it, by the same names.
        needed_python: The versions of Python that this project takes, such as ">=3.11"; "" if unknown.
        variables: Environment variables.
        outcomes: What became of each probe; those that did not run are absent.
        folder: Working directory.
        has_nvidia: Whether the driver of an NVIDIA GPU is here.
        memory: Bytes of memory that this process can still have; None if unknown.
        disk: Free bytes of the disk of `folder`; None if unknown.
    """

    python: str
    installed: Mapping[str, str] = field(default_factory=dict)
    requirements: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    needed_python: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    folder: Path = Path()
    has_nvidia: bool = False
    memory: int | None = None
    disk: int | None = None

    def failed(self, *probes: str) -> bool:
        """Return whether one of some probes ran and failed.

        Args:
            probes: Their names.

        Returns:
            False if none of them ran.
        """
        return any(probe in self.outcomes and self.outcomes[probe].error for probe in probes)

    def facts(self, probe: str) -> Mapping[str, str]:
        """Return what a probe found.

        Args:
            probe: Its name.

        Returns:
            Nothing if it did not run.
        """
        return self.outcomes[probe].facts if probe in self.outcomes else {}
