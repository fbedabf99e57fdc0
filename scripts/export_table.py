"""Write what the files of the whole store say to a table: Parquet, CSV or NDJSON."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from service.commands.console import Progress, make_parser, print_summary, run_command
from service.commands.tables import TableReport, TableRequest, export_table
from service.dicom.matching.conditions import Options
from service.dicom.matching.reading import read_conditions, read_fields
from service.dicom.paths import split_paths
from service.errors import Invalid
from service.resources import now, open_store_beside, open_workers
from service.settings import Settings
from service.usecases.context import Context
from service.usecases.table_formats import FORMATS


def parse(arguments: list[str] | None = None) -> tuple[argparse.Namespace, TableRequest]:
    """Read the command line."""
    parser = make_parser(
        "export_table",
        "Writes a table with a row for each stored file, and a column for each element that --fields names: its id and "
        "its patient first. The table holds patients' data: it is readable for its owner alone. The service may run "
        "meanwhile, or not. The summary goes to standard error where the table goes to standard output.",
    )
    parser.add_argument("file", help="where to, by its ending .parquet, .csv or .ndjson; - is standard output")
    parser.add_argument(
        "--fields",
        metavar="PATHS",
        action="append",
        required=True,
        help="paths of elements, with commas; may be repeated",
    )
    parser.add_argument(
        "--where",
        metavar="PATH=VALUE",
        action="append",
        default=[],
        help="only files for which this holds, as in a search; may be repeated",
    )
    parser.add_argument("--patients", metavar="IDS", help="only these patients' files, with commas")
    parser.add_argument("--format", choices=FORMATS, help="the format, where the ending does not say it")
    given = parser.parse_args(arguments)
    chosen = given.format or Path(given.file).suffix.removeprefix(".")
    if chosen not in FORMATS:
        parser.error("say the format: name the file .parquet, .csv or .ndjson, or use --format")
    names = list(dict.fromkeys(name for text in given.fields for name in split_paths(text)))
    wheres = [text.partition("=") for text in given.where]
    if not names:
        parser.error("--fields names no element")
    if not all(equals for _, equals, _ in wheres):
        parser.error("--where is a path, an equals sign and a value, such as Modality=CT")
    patients = list(dict.fromkeys(filter(None, (given.patients or "").split(","))))
    if given.patients is not None and not patients:
        parser.error("--patients names nobody")
    try:
        fields = dict(zip(names, read_fields("--fields", names), strict=True))
        conditions = read_conditions([(path, value) for path, _, value in wheres], Options(empty=True))
    except Invalid as error:
        parser.error(str(error))
    return given, TableRequest(FORMATS[chosen], fields, conditions, patients)


async def work(settings: Settings, given: argparse.Namespace, request: TableRequest) -> int:
    """Do it, and return the exit status."""
    progress = Progress("read")
    progress.quiet = given.quiet

    def show(so_far: TableReport) -> None:
        progress.show(so_far.passed, so_far.passed, so_far.total)

    async with open_workers(settings) as workers, open_store_beside(settings, "scripts/export_table.py") as store:
        with _target(given.file) as target:
            report = await export_table(Context(store, workers, settings, now), request, target, show=show)
    progress.end()
    seconds = progress.seconds()
    lines = [
        f"{report.rows} rows of {report.passed} files in {seconds:.1f} s ({report.bytes} bytes); "
        f"{report.untagged} files had no tags, {report.unknown} may match and were left out, {report.failed} failed."
    ]
    lines += [f"  failed: {each['dicom_id']}: {each['error']}" for each in report.failures]
    with contextlib.redirect_stdout(sys.stderr if given.file == "-" else sys.stdout):
        print_summary(given, {**asdict(report), "seconds": round(seconds, 3)}, lines)
    return 1 if report.failed else 0


@contextlib.contextmanager
def _target(name: str) -> Iterator[BinaryIO]:
    """Open what is written to; a file gets its name when it is whole."""
    if name == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(name)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            yield file
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    given, request = parse(arguments)
    return run_command(
        given, os.environ, lambda settings: work(settings, given, request), hint="Nothing was written. Run it again."
    )


if __name__ == "__main__":
    sys.exit(main())
