"""Damaged files: what becomes of a command whose image, mask, vocabulary, weights ... is not as it was."""

import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from campaign.children import Call, run
from campaign.judging import Reference, Results, judge, read_results
from campaign.laws import must_be_noticed
from campaign.material import Material
from campaign.mutators import Mutator, mutate
from campaign.outcomes import Verdict

LIMIT = 10.0
"""Seconds that a command may take with a damaged file; undisturbed, each takes about one."""


@dataclass(frozen=True)
class Target:
    """A file that is damaged, and the command that reads it.

    Attributes:
        kind: The kind of its tries, such as "image".
        file: The file, within the folder of the try.
        lay_out: Writes the undamaged files into that folder.
        call: Returns the command; it writes its results to the folder `out`.
        mutators: What happens to the file.
        results: Reads the results from the folder of the try.
        is_state: Whether the file is the program's own, so that no change of it may change a result.
        limit: Seconds that the command may take.
    """

    kind: str
    file: str
    lay_out: Callable[[Material, Path], None]
    call: Callable[[Material], Call]
    mutators: Sequence[Mutator]
    results: Callable[[Path], Results] = lambda folder: read_results(folder / "out")
    is_state: bool = False
    limit: float = LIMIT

    def try_once(
        self, material: Material, folder: Path, seed: int, references: dict[str, Reference]
    ) -> Verdict:
        """Damage the file, run the command and judge it.

        Args:
            material: What the files are made of.
            folder: An empty folder.
            seed: Decides the damage.
            references: Undisturbed runs by name; that of this target is added if it is missing.
        """
        name = f"{self.kind}:{self.file}"
        if name not in references:
            references[name] = self.undisturbed(material, folder)
        rng = random.Random(f"{name}:{seed}")
        self.lay_out(material, folder)
        path = folder / self.file
        whole = path.read_bytes()
        damaged, done = mutate(whole, rng, self.mutators)
        path.write_bytes(damaged)
        ended = run(self.call(material), folder, self.limit)
        fault = "a file of the program's own" if self.is_state else must_be_noticed(path.name, damaged, whole)
        verdict = judge(ended, self.results(folder), references[name], fault)
        return Verdict(verdict.outcome, f"{self.file}: {done}: {verdict.detail}", ended.seconds)

    def undisturbed(self, material: Material, folder: Path) -> Reference:
        """Run the command with the undamaged file, in a folder that is empty again afterwards."""
        self.lay_out(material, folder)
        ended = run(self.call(material), folder)
        reference = Reference(ended, self.results(folder))
        if ended.status != 0 or not reference.results:
            raise RuntimeError(
                f"{self.kind} {self.file}: undisturbed it ended with {ended.status}: {ended.output}"
            )
        shutil.rmtree(folder)
        folder.mkdir()
        return reference
