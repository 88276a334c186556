"""What `rskt-seg weights` does: listing, fetching, verifying and converting of weight files."""

import argparse
import ast
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from rskt_seg.checkpoints.fetch import UNKNOWN, Finding, fetch, sha256_of, verify
from rskt_seg.checkpoints.files import read_weights
from rskt_seg.checkpoints.manifest import FOLDER, Weights, by_file, by_name, config_key
from rskt_seg.commands.entry import echo
from rskt_seg.errors import CheckpointError, ConfigError, OtherModelError, WeightsNotFoundError
from rskt_seg.methods import create_model, find_preset, model_names, registered_methods
from rskt_seg.methods.export import check_target, export_encoder, export_model, kind_of
from rskt_seg.quoting import visible
from rskt_seg.typing import SegmentationModel


def list_weights(args: argparse.Namespace, rows: Sequence[Weights]) -> int:
    """Print the manifest as a table, or all that is known of the files that are named.

    Args:
        args: The parsed command line.
        rows: The known weight files.

    Returns:
        0.
    """
    chosen = [by_name(name, rows) for name in args.names]
    found = {row.name: verify(row, row.place(args.to)) for row in chosen or rows}
    if chosen:
        echo("\n\n".join(_details(row, found[row.name]) for row in chosen))
        return 0
    table = [
        (
            row.name,
            row.role,
            "unknown" if row.size is None else f"{row.size:,}",
            "unknown"
            if row.sha256 is None
            else f"{row.sha256[:8]}{'' if len(row.sha256) == 64 else ' only'}",
            (row.licence or "unknown").split(" (")[0],
            row.where,
            {"absent": "-", "unknown": "here"}.get(found[row.name].state, found[row.name].state),
        )
        for row in rows
    ]
    echo(tabulate(table, headers=("name", "role", "bytes", "sha256", "licence", "from", args.to)))
    echo(
        "\nhere: present, with no digest to compare it with. `list NAME` prints all that is known of a file."
    )
    return 0


def _details(row: Weights, found: Finding) -> str:
    def known(value: object, field: str) -> str:
        return str(value) if value is not None else f"unknown: {row.unknown[field]}"

    lines = {
        "role": f"{row.role} ({', '.join(row.config_keys)})",
        "file": f"{found.path}: {found.text}",
        "source": row.url or row.by_hand or f"{row.file} of {row.where}",
        "page": row.page,
        "bytes": known(row.size, "size"),
        "sha256": known(row.sha256, "sha256")
        + ("" if row.sha256 is None or len(row.sha256) == 64 else " (no more digits are published)"),
        "licence": known(row.licence, "licence"),
        "facts": row.facts,
        "instead": row.instead or "-",
        "note": row.note or "-",
    }
    return "\n".join([row.name, *(f"  {key:8} {text}" for key, text in lines.items())])


def fetch_weights(args: argparse.Namespace, rows: Sequence[Weights]) -> int:
    """Fetch or verify each file that is named.

    Args:
        args: The parsed command line.
        rows: The known weight files.

    Returns:
        1 if one of them failed, else 0.

    Raises:
        ConfigError: There is nothing to fetch, or --to is combined with --all-for.
    """
    if not args.names and not args.all_for:
        raise ConfigError("nothing to fetch: give names (see `list`) or --all-for CONFIG")
    if args.all_for and args.to != FOLDER:
        raise ConfigError("--all-for puts every file where the configuration looks for it; leave --to out")
    wanted = [(by_name(name, rows), Path(args.to)) for name in args.names]
    wanted += _of_configuration(args.all_for, rows) if args.all_for else []
    failed = False
    for row, folder in dict.fromkeys(wanted):
        echo(f"{row.name}: licence {row.licence or 'unknown'}; {row.page}")
        try:
            found = fetch(row, folder)
            echo(f"{found.path}: {found.text}")
        except CheckpointError as error:
            failed = True
            sys.stderr.write(f"{visible(str(error))}\n")
    return int(failed)


def _of_configuration(config: str, rows: Sequence[Weights]) -> list[tuple[Weights, Path]]:
    """Return the files that a configuration starts from, and the folders where it looks for them."""
    from rskt_seg.d2 import load_config
    from rskt_seg.d2.weights import encoder_sources

    cfg = load_config(config)
    encoders = {config_key(role): source for role, source in encoder_sources(cfg).items()}
    wanted = []
    sources = {"MODEL.WEIGHTS": cfg.MODEL.WEIGHTS} if cfg.MODEL.WEIGHTS else encoders
    for key, source in sources.items():
        row = by_file(source, rows)
        if row is None:
            echo(f"{key} {source or '(empty)'}: not a file of the manifest, nothing to fetch")
        else:
            wanted.append((row, Path(source).parent))
    return wanted


def verify_weights(args: argparse.Namespace, rows: Sequence[Weights]) -> int:
    """Compare the digests of files with those of the manifest.

    Args:
        args: The parsed command line.
        rows: The known weight files.

    Returns:
        1 if a file is absent or has another digest than expected, else 0.

    Raises:
        WeightsNotFoundError: No file is named, and none of the manifest is there.
    """
    here = [row.name for row in rows if Path(args.to, row.file).is_file()]
    if not args.names and not here:
        raise WeightsNotFoundError(f"no file of the manifest is in {args.to}; see `list` and `fetch`")
    failed = False
    for name in args.names or here:
        path = Path(name)
        row = by_file(path, rows) if path.is_file() else by_name(name, rows)
        if row is not None and not path.is_file():
            path = row.place(args.to)
        if row is None:  # not in the manifest: the user compares
            digest = sha256_of(path)
            text = f"no file of this name is in the manifest; found sha256 {digest}"
            found = Finding(path, UNKNOWN, digest, text)
        else:
            found = verify(row, path)
        echo(f"{found.path}: {found.state}: {found.text}")
        failed |= found.state in ("absent", "wrong")
    return int(failed)


def convert_weights(args: argparse.Namespace, rows: Sequence[Weights]) -> int:
    """Convert a checkpoint or an encoder to safetensors.

    Args:
        args: The parsed command line.
        rows: The known weight files.

    Returns:
        0.

    Raises:
        ConfigError: The flags do not fit the file.
        CheckpointError: The target exists or is no .safetensors, or the source cannot be read or does not
            fit the model.
    """
    check_target(args.target)
    weights = read_weights(args.source)
    if kind_of(weights, args.source) == "model":
        contexts = dict(_pair("--contexts", text) for text in args.contexts)
        try:
            report = export_model(_model_of(args, weights.options), args.source, args.target, contexts)
        except OtherModelError as error:
            advice = "leave --model and --options out, for the file states its model"
            if weights.options is None:
                advice = f"give {' or '.join(_flags(preset, error.options) for preset in error.presets)}"
            raise CheckpointError(f"{error.finding}; {advice}") from error
    elif args.model or args.options or args.contexts:
        raise ConfigError(
            f"{args.source} is one encoder; --model, --options and --contexts are for whole checkpoints"
        )
    else:
        report = export_encoder(args.source, args.target)
    echo(f"{report}\nwritten: {args.target}")
    return 0


def _model_of(args: argparse.Namespace, stated: Mapping[str, Any] | None) -> SegmentationModel:
    """Build the model of a checkpoint, from the flags or from the options that it states."""
    if args.model:
        return create_model(args.model, **dict(map(_option, args.options)))
    if args.options:
        raise ConfigError(f"--options needs --model, one of {', '.join(model_names())}")
    if stated is None:
        raise ConfigError(
            f"{args.source} does not state the options of its model: give --model "
            f"({', '.join(model_names())}) and --options; `rskt-seg weights list NAME` has those of "
            "the published ones"
        )
    # The stated options include the encoder, so that any preset of the method will do.
    names = [next(iter(m.presets)) for m in registered_methods() if set(stated) == set(m.options)]
    if not names:
        raise ConfigError(f"{args.source} states options that no model has: {', '.join(stated)}")
    return create_model(names[0], **{k: tuple(v) if isinstance(v, list) else v for k, v in stated.items()})


def _flags(preset: str, options: Mapping[str, object]) -> str:
    """Return the flags for a model, with those of the options that its method has."""
    method, _ = find_preset(preset)
    words = [f"{name}={value!r}" for name, value in options.items() if name in method.options]
    return " ".join([f"--model {preset}", *(["--options"] if words else []), *words])


def _pair(flag: str, text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"{flag} takes NAME=VALUE; found {text!r}")
    return key, value


def _option(text: str) -> tuple[str, Any]:
    """Split KEY=VALUE. VALUE is a Python literal, else text; `create_model` checks it."""
    key, value = _pair("--options", text)
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value


ACTIONS: dict[str, Callable[[argparse.Namespace, Sequence[Weights]], int]] = {
    "list": list_weights,
    "fetch": fetch_weights,
    "verify": verify_weights,
    "convert": convert_weights,
}
"""Subcommand -> what it does with the parsed command line and the known weight files."""
