"""Preparing a dataset: from sources to a complete set, or on from where an earlier run was stopped."""

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rskt_seg.data.convert import find_converter, lowered_ids
from rskt_seg.data.labels import read_label
from rskt_seg.data.parallel import over_files
from rskt_seg.data.preparation.download import Download
from rskt_seg.data.preparation.job import NamedBytes, do
from rskt_seg.data.preparation.plan import Job, Plan, make_plan
from rskt_seg.data.preparation.recipes import Recipe, find_recipe
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
    with Download(sources, recipe.skip) as download:
        plan = make_plan(recipe, download.members, options.allow_missing)
        _refuse_own_output(plan, root)
        _refuse_converted(plan, download)
        record = Record(plan, root, options)
        record.open()
        todo = [job for job in plan.jobs if not record.holds(job.part, job.stem)]
        work = partial(do, splits=recipe.splits, download=download, root=root, tolerance=options.tolerance)
        for done in over_files(work, todo, f"preparing {recipe.dataset}", workers, progress):
            record.add(done)
    return record.close(len(todo))


def plan_only(
    dataset: str, sources: Sequence[str | os.PathLike], options: Options = DEFAULTS
) -> tuple[str, ...]:
    """What `prepare` would find, in lines for people; nothing is written."""
    recipe = find_recipe(dataset)
    with Download(sources, recipe.skip) as download:
        plan = make_plan(recipe, download.members, options.allow_missing)
        folders = [f"would write {folder}" for folder in plan.folders]
        return (f"{recipe.dataset}: {len(plan.jobs)} images", *plan.notes, *folders)


def _keeping_empty(recipe: Recipe) -> Recipe:
    layouts = []
    for layout in recipe.layouts:
        rules = layout.rules
        tiling = rules.tiling and rules.tiling._replace(drop_empty=False)
        layouts.append(replace(layout, rules=replace(rules, tiling=tiling)))
    return replace(recipe, layouts=tuple(layouts))


def _refuse_own_output(plan: Plan, root: Path) -> None:
    targets = {(root / folder).resolve() for folder in plan.folders}
    for job in plan.jobs:
        if not job.label.inner and job.label.file.parent.resolve() in targets:
            raise DatasetError(
                f"{job.label.file} lies where the prepared set belongs: it is in place already. Check it "
                f"with python datasets/check.py {plan.recipe.dataset}, or give another root"
            )


def _refuse_converted(plan: Plan, download: Download) -> None:
    """Raise `DatasetError` where ids to be lowered by one look as if they had been lowered before."""
    jobs: dict[str, list[Job]] = {}
    for job in plan.jobs:
        for _, name in job.targets:
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
