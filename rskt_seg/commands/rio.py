"""`rio segment`: `rskt-seg segment` as a plug-in of rasterio's command line."""

import logging

import click


@click.command(
    "segment",
    short_help="Segment rasters by class names.",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def segment(context: click.Context, args: tuple[str, ...]) -> None:
    """Segment rasters of any size by class names: see `rio segment --help`."""
    from rskt_seg.commands.segment import main

    logging.getLogger().handlers.clear()  # rio's own, whose lines begin with the names of modules
    context.exit(main(args, program="rio segment"))
