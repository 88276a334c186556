"""Preparing a dataset: from sources to a complete set, or on from where an earlier run was stopped."""

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rskt_seg.data.convert import find_converter, lowered_ids
from rskt_seg.data.labels import read_label
from rskt_seg.data.parallel import over_files
from rskt_seg.data.preparation.download import Download, Member
from rskt_seg.data.preparation.job import NamedBytes, do
from rskt_seg.data.preparation.layouts import Recipe
from rskt_seg.data.preparation.plan import Job, Plan, make_plan
from rskt_seg.data.preparation.recipes import find_recipe
from rskt_seg.data.preparation.record import DEFAULTS, Options, Record, Summary
from rskt_seg.errors import DatasetError

_SAMPLED, _TELLING = 32, 20


def prepare(
    dataset: str,
    sources: Sequence[str | os.PathLike],
    root: str | os.PathLike,
    options: Options = DEFAULTS,
    workers: int | None = None,
    progress: bool = True,
) -> Summary:
    """Convert the official files of `dataset` below `sources` into the layout of the data table under `root`.

    What an interrupted run has done is kept and completed; a complete one is left as it is. Raises
    `DatasetError` and `LabelError` as `make_plan` and `do`, and where `root` holds files that this function
    did not write, or the set prepared from other files or with other options.
    """
    recipe = find_recipe(dataset)
    if options.keep_empty:
        recipe = _keeping_empty(recipe)
    root = Path(root)
    if workers is not None and workers < 1:
        raise DatasetError(f"at least one worker is needed; found {workers}")
    with Download(sources, recipe.skip) as download:
        plan = _plan(recipe, download, root, options)
        _refuse_own_output(plan, root)
        _refuse_converted(plan, download)
        try:
            with Record(plan, root, options) as record:
                todo = [job for job in plan.jobs if not record.holds(job)]
                work = partial(do, record=record, download=download)
                for _ in over_files(work, todo, f"preparing {recipe.dataset}", workers, progress):
                    pass
                return record.close(len(todo))
        except OSError as error:
            raise DatasetError(f"{root} cannot be written: {error}") from error


def _plan(recipe: Recipe, download: Download, root: Path, options: Options) -> Plan:
    members = _not_written_here(download.members, recipe, root)
    notes = _unread(download)
    if dropped := len(download.members) - len(members):
        notes.append(f"{dropped} files in the source were prepared from it before, and are in place already")
    try:
        plan = make_plan(recipe, members, options.allow_missing)
    except DatasetError as error:
        raise DatasetError(". ".join([str(error), *notes])) from error
    return replace(plan, notes=(*plan.notes, *notes))


def _not_written_here(members: Sequence[Member], recipe: Recipe, root: Path) -> list[Member]:
    """Without the files that an earlier run has put under `root`, which may lie in the source."""
    if not Record.exists(recipe, root):
        return list(members)
    own = {(root / folder).resolve() for folder in recipe.folders}
    return [m for m in members if m.inner or m.file.parent.resolve() not in own]


def _unread(download: Download) -> list[str]:
    return [f"not read, because only zip archives are: {path}" for path in download.unread]


def plan_only(
    dataset: str, sources: Sequence[str | os.PathLike], options: Options = DEFAULTS
) -> tuple[str, ...]:
    """What `prepare` would find, in lines for people; nothing is written."""
    recipe = find_recipe(dataset)
    with Download(sources, recipe.skip) as download:
        plan = make_plan(recipe, download.members, options.allow_missing)
        folders = [f"would write {folder}" for folder in plan.folders]
        notes = (*plan.notes, *_unread(download))
        return (f"{recipe.dataset}: {len(plan.jobs)} images", *notes, *folders)


def _keeping_empty(recipe: Recipe) -> Recipe:
    layouts = (replace(row, rules=replace(row.rules, drop_empty=False)) for row in recipe.layouts)
    return replace(recipe, layouts=tuple(layouts))


def _refuse_own_output(plan: Plan, root: Path) -> None:
    targets = {(root / folder).resolve() for folder in plan.folders}
    for job in plan.jobs:
        if not job.label.inner and job.label.file.parent.resolve() in targets:
            raise DatasetError(
                f"{job.label.file} lies where the prepared set belongs: it is in place already. Check it "
                f"with `rskt-seg check {plan.recipe.dataset}`, or give another root"
            )


def _refuse_converted(plan: Plan, download: Download) -> None:
    """Raise `DatasetError` where ids to be lowered by one look as if they had been lowered before."""
    jobs: dict[str, list[Job]] = {}
    for job in plan.jobs:
        for name in dict.fromkeys(target.converter for target in job.targets):
            if find_converter(name).function is lowered_ids:
                jobs.setdefault(name, []).append(job)
    for name, those in jobs.items():
        sample = those[:: max(1, len(those) // _SAMPLED)]
        highest = len(find_converter(name).class_set)
        tops = (read_label(NamedBytes(download.read(j.label), j.label.path)).max() for j in sample)
        if len(sample) >= _TELLING and max(tops) < highest:
            raise DatasetError(
                f"none of {len(sample)} labels, {sample[0].label.path} the first, holds the official id "
                f"{highest} ({find_converter(name).class_set.names[-1]}); these labels look as if they had "
                "been converted already: take the official ones"
            )
