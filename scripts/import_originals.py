"""Store the files of an archive that export_originals.py wrote."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from service.commands.backup import ArchiveReport, import_directory, import_tar
from service.commands.console import Progress, make_parser, positive, print_summary, run_command
from service.errors import Invalid
from service.resources import now, open_store_beside, open_workers
from service.settings import Settings
from service.usecases.context import Context
from service.usecases.spool import sweep


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(
        "import_originals",
        "Stores every file of an archive under the id that it had, once its size and sha256 are checked, and extracts "
        "it. A file that is damaged is refused and named, and the others are stored. Files that are there already are "
        "skipped, so an import that was stopped goes on when it is run again. Into an empty database the id namespace "
        "is taken over too; services that run learn of it before the first file is stored.",
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("directory", nargs="?", help="the directory that export_originals.py wrote")
    where.add_argument("--tar", metavar="FILE", help="a tar file instead, compressed or not; - reads standard input")
    parser.add_argument("--workers", type=positive, metavar="N", help="worker processes [POOL_PROCESSES; one a CPU]")
    return parser.parse_args(arguments)


async def work(settings: Settings, given: argparse.Namespace) -> int:
    """Do it, and return the exit status."""
    progress = Progress("imported")
    progress.quiet = given.quiet

    def show(so_far: ArchiveReport) -> None:
        progress.show(so_far.done, so_far.passed, so_far.total)

    if given.directory and not Path(given.directory).is_dir():  # noqa: ASYNC240 - nothing else runs yet
        raise Invalid(f"There is no directory {given.directory}.")
    await asyncio.to_thread(sweep, settings.spool_dir)
    async with (
        open_workers(settings) as workers,
        open_store_beside(settings, "scripts/import_originals.py", create=True) as store,
    ):
        context = Context(store, workers, settings, now)
        if given.tar is None:
            report = await import_directory(context, Path(given.directory), show=show)
        elif given.tar == "-":
            report = await import_tar(context, sys.stdin.buffer, show=show)
        else:
            with Path(given.tar).open("rb") as file:  # noqa: ASYNC230 - read in threads
                report = await import_tar(context, file, show=show)
    progress.end()
    lines = [
        f"{report.done} files imported ({report.bytes} bytes), {report.present} were there already, "
        f"{report.failed} failed."
    ]
    if report.unextracted:
        lines.append(f"{report.unextracted} of them could not be extracted: python scripts/reindex.py --failed")
    if not report.own_namespace:
        lines.append(
            "New files get ids of the database's own, as before; the same bytes as these are found under theirs."
        )
    lines += [f"  failed: {each['dicom_id']}: {each['error']}" for each in report.failures]
    print_summary(given, asdict(report), lines)
    return 1 if report.failed else 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    given = parse(arguments)
    return run_command(given, os.environ, lambda settings: work(settings, given))


if __name__ == "__main__":
    sys.exit(main())
