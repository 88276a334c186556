"""Prepare a dataset: from its sources to a complete set, or on from where an earlier run stopped."""

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rskt_seg.data.convert import find_converter, reduce_zero_label
from rskt_seg.data.labels import read_label
from rskt_seg.data.parallel import map_files
from rskt_seg.data.preparation.download import Download
from rskt_seg.data.preparation.journal import journal_path, open_journal
from rskt_seg.data.preparation.layouts import Recipe
from rskt_seg.data.preparation.plan import Job, Plan, make_plan
from rskt_seg.data.preparation.recipes import find_recipe
from rskt_seg.data.preparation.scene import NamedBytes, convert_scene
from rskt_seg.data.preparation.summary import DEFAULTS, Options, Summary
from rskt_seg.errors import DatasetError, DiskFullError

_SAMPLED_LABELS = 32
"""About how many labels are read to find out whether a set is converted already."""
_FEWEST_LABELS = 20
"""A smaller sample proves nothing: the class with the highest id may just not occur."""


def prepare(
    dataset: str,
    sources: Sequence[str | os.PathLike[str]],
    root: str | os.PathLike[str],
    options: Options = DEFAULTS,
    workers: int | None = None,
    progress: bool = True,
) -> Summary:
    """Convert the official files of a dataset into the layout of the catalog.

    An interrupted run is completed; a complete set is left as it is.

    Args:
        dataset: The name of the dataset, in any case of letters.
        sources: Folders with the downloads, zipped or unpacked, or zip archives.
        root: The root of all datasets, below which the set is written.
        options: What is tolerated, kept and overwritten.
        workers: Number of images converted at a time; None for one a core, at most eight.
        progress: Whether a progress bar is shown.

    Returns:
        What was found and done.

    Raises:
        DatasetError: If the download is incomplete, damaged or mixed (see `Download` and `make_plan`); if an
            image cannot be read; if `root` holds files that no run has written, or a set that was prepared
            from other files; if `root` cannot be written.
        LabelError: If a label is not what its converter expects.
    """
    recipe = find_recipe(dataset)
    if options.keep_empty:
        layouts = (replace(row, rules=replace(row.rules, drop_empty=False)) for row in recipe.layouts)
        recipe = replace(recipe, layouts=tuple(layouts))
    root = Path(root)
    if workers is not None and workers < 1:
        raise DatasetError(f"at least one worker is needed; found {workers}")
    with Download(sources, recipe.skip, options.limits) as download:
        plan = _plan_new_files(recipe, download, root, options)
        _refuse_own_outputs(plan, root)
        _refuse_converted(plan, download)
        try:
            with open_journal(plan, root, options) as journal:
                todo = [job for job in plan.jobs if not journal.is_done(job)]
                convert = partial(convert_scene, journal=journal, download=download)
                for _ in map_files(convert, todo, f"preparing {recipe.dataset}", workers, progress):
                    pass
                return journal.finish(fresh=len(todo))
        except DiskFullError:
            raise
        except OSError as error:
            raise DatasetError(f"{root} cannot be written: {error}") from error


def plan_only(
    dataset: str, sources: Sequence[str | os.PathLike[str]], options: Options = DEFAULTS
) -> tuple[str, ...]:
    """Return what `prepare` would find and write, in lines for the user; nothing is written.

    Args:
        dataset: The name of the dataset, in any case of letters.
        sources: Folders with the downloads, zipped or unpacked, or zip archives.
        options: Of these, `allow_missing` and `limits` count.

    Returns:
        The lines.

    Raises:
        DatasetError: If the download is incomplete, damaged or mixed.
    """
    recipe = find_recipe(dataset)
    with Download(sources, recipe.skip, options.limits) as download:
        plan = make_plan(recipe, download.members, options.allow_missing)
        download.require_memory(member for job in plan.jobs for member in (job.image, job.label))
        folders = [f"would write {folder}" for folder in plan.folders]
        notes = (*plan.notes, *_unread_notes(download))
        return (f"{recipe.dataset}: {len(plan.jobs)} images", *notes, *folders)


def _plan_new_files(recipe: Recipe, download: Download, root: Path, options: Options) -> Plan:
    """Plan for the files that were not written by an earlier run, as `root` may lie in the source."""
    members = download.members
    if journal_path(recipe, root).exists():
        own = {(root / folder).resolve() for folder in recipe.folders}
        members = [m for m in members if m.inner or m.file.parent.resolve() not in own]
    notes = _unread_notes(download)
    if dropped := len(download.members) - len(members):
        notes.append(f"{dropped} files in the source were prepared from it before, and are in place already")
    try:
        plan = make_plan(recipe, members, options.allow_missing)
    except DatasetError as error:
        raise DatasetError(". ".join([str(error), *notes])) from error
    download.require_memory(member for job in plan.jobs for member in (job.image, job.label))
    return replace(plan, notes=(*plan.notes, *notes))


def _unread_notes(download: Download) -> list[str]:
    return [f"not read, because only zip archives are: {path}" for path in download.unread]


def _refuse_own_outputs(plan: Plan, root: Path) -> None:
    """Raise `DatasetError` if the source is the prepared set itself."""
    targets = {(root / folder).resolve() for folder in plan.folders}
    for job in plan.jobs:
        if not job.label.inner and job.label.file.parent.resolve() in targets:
            raise DatasetError(
                f"{job.label.file} lies where the prepared set belongs: it is in place already. Check it "
                f"with `rskt-seg check {plan.recipe.dataset}`, or pass another root"
            )


def _refuse_converted(plan: Plan, download: Download) -> None:
    """Raise `DatasetError` if labels whose ids will be lowered by one seem to be lowered already."""
    jobs: dict[str, list[Job]] = {}
    for job in plan.jobs:
        for name in dict.fromkeys(target.converter for target in job.targets):
            if find_converter(name).function is reduce_zero_label:
                jobs.setdefault(name, []).append(job)
    for name, of_converter in jobs.items():
        sample = of_converter[:: max(1, len(of_converter) // _SAMPLED_LABELS)]
        if len(sample) < _FEWEST_LABELS:
            continue
        class_set = find_converter(name).class_set
        highest = len(class_set)
        labels = (read_label(NamedBytes(download.read(j.label), j.label.path)) for j in sample)
        if max(int(label.max()) for label in labels) < highest:
            raise DatasetError(
                f"the official id {highest} ({class_set.names[-1]}) was expected in some of {len(sample)} "
                f"labels, first of them {sample[0].label.path}, found in none; these labels seem to be "
                "converted already: pass the official ones"
            )
