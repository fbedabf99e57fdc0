"""Write every stored original to a directory or a tar file, with a manifest."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from service.commands.archive import DirectorySink, TarSink
from service.commands.backup import ArchiveReport, export_originals
from service.commands.console import Progress, make_parser, print_summary, run_command
from service.resources import now, open_store_beside
from service.settings import Settings
from service.usecases.context import Context
from service.workers.pool import WorkerPool


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(
        "export_originals",
        "Writes the bytes of every stored file, named by its id, and a manifest (JSON lines: patient_id, dicom_id, "
        "file_name, received_at, sha256, size). The archive holds patients' data: it is readable for its owner alone. "
        "Run again on the same directory, it writes only what is not there. The service may run meanwhile. "
        "import_originals.py reads it. The summary goes to standard error.",
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("directory", nargs="?", help="the directory to write to; made where it is not there")
    where.add_argument("--tar", metavar="FILE", help="a tar file instead; - writes it to standard output")
    parser.add_argument("--patient", metavar="ID", help="only this patient's files")
    return parser.parse_args(arguments)


async def work(settings: Settings, given: argparse.Namespace) -> int:
    """Do it, and return the exit status."""
    progress = Progress("exported")
    progress.quiet = given.quiet

    def show(so_far: ArchiveReport) -> None:
        progress.show(so_far.done, so_far.passed, so_far.total)

    with contextlib.ExitStack() as files:
        sink: DirectorySink | TarSink = DirectorySink(Path(given.directory or "."))
        if given.tar is not None:
            sink = TarSink(_open_tar(given.tar, files))
        async with open_store_beside(settings, "scripts/export_originals.py") as store:
            # The pool is never started: bytes go out as they are.
            context = Context(store, WorkerPool(1), settings, now)
            report = await export_originals(context, sink, patient_id=given.patient, show=show)
    progress.end()
    stream = sys.stderr if given.tar == "-" else sys.stdout
    with contextlib.redirect_stdout(stream):
        _tell(given, report)
    return 1 if report.failed else 0


def _open_tar(name: str, files: contextlib.ExitStack) -> BinaryIO:
    if name == "-":
        return sys.stdout.buffer
    path = Path(name)
    path.touch(mode=0o600)
    return files.enter_context(path.open("wb"))


def _tell(given: argparse.Namespace, report: ArchiveReport) -> None:
    lines = [
        f"{report.done} files exported ({report.bytes} bytes), {report.present} were there already, "
        f"{report.gone} were deleted meanwhile, {report.failed} failed."
    ]
    lines += [f"  failed: {each['dicom_id']}: {each['error']}" for each in report.failures]
    print_summary(given, asdict(report), lines)


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    given = parse(arguments)
    return run_command(given, os.environ, lambda settings: work(settings, given))


if __name__ == "__main__":
    sys.exit(main())
