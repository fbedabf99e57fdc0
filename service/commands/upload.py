"""Files, folders and ZIPs to a running service over HTTP, several at once; run again, it goes on where it ended."""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import queue
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from service.commands.console import INTERRUPTED, Progress, positive, print_summary
from service.dicom.parsing.framing import begins_like_dicom
from service.settings import is_loopback
from service.usecases.unpacking import HEAD_BYTES, beside_images
from service.usecases.zip_reading import LOCAL_HEADER

TRIES = 6
"""How often a file is sent where the service is busy or away."""

WAIT_SECONDS = 1.0
"""Before the second try; twice as long before each further one."""

MAX_WAIT_SECONDS = 60.0
IDLE_SECONDS = 600.0
"""How long the service may be silent; a large file is extracted before it is answered."""

MAX_PROBLEMS = 1000
"""Files of which the summary says what was wrong."""

PIECE_BYTES = 1 << 18

RETRIED = frozenset({408, 429, 502, 503, 504})
FATAL = frozenset({401, 403})


class UsageError(Exception):
    """The command cannot begin; the text is a sentence."""


class Stopped(Exception):
    """Nothing more is to be sent; the text is a sentence."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where files go.

    Parameters
    ----------
    scheme, host : str
        Of the service.
    port : int or None
        None for the scheme's own.
    path : str
        Of the patient's files.
    token : str
        Opens them.
    query : str
        What is said of each file.
    """

    scheme: str
    host: str
    port: int | None
    path: str
    token: str
    query: str = ""

    def connect(self) -> http.client.HTTPConnection:
        """Return a new connection."""
        kind = http.client.HTTPSConnection if self.scheme == "https" else http.client.HTTPConnection
        return kind(self.host, self.port, timeout=IDLE_SECONDS)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service said."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def problem(self) -> tuple[str, str]:
        """The word and the sentence of a refusal."""
        try:
            told = json.loads(self.body)
            return str(told["code"]), str(told["detail"])
        except (ValueError, KeyError, TypeError):
            return f"http-{self.status}", f"The service answered with {self.status}."


@dataclass
class Tally:
    """What became of the files, counted by several threads.

    Parameters
    ----------
    progress : Progress
        Where it is shown.
    total_bytes : int
        Of all files.
    """

    progress: Progress
    total_bytes: int
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[dict[str, str]] = field(default_factory=list)
    people: Counter[tuple[str, str]] = field(default_factory=Counter)
    passed_bytes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, path: str, outcome: str, word: str = "", detail: str = "") -> None:
        """Count a file or a member of a ZIP, and keep what is wrong with it."""
        with self.lock:
            self.counts[outcome] += 1
            if outcome in {"refused", "failed"} and len(self.problems) < MAX_PROBLEMS:
                self.problems.append({"path": path, "outcome": outcome, "reason": word, "detail": detail})

    def pass_by(self, size: int) -> None:
        """Show that so many bytes more are behind."""
        with self.lock:
            self.passed_bytes += size
            self.progress.show(self.counts.total(), self.passed_bytes, self.total_bytes)


class Uploader:
    """Sends files from several threads.

    Parameters
    ----------
    target : Target
        Where they go.
    present : mapping of str to int
        SHA-256 and size of what is there already.
    tally : Tally
        Where it is counted.
    """

    def __init__(self, target: Target, present: Mapping[str, int], tally: Tally) -> None:
        self._target = target
        # What is there already is not looked at here, so where a PatientID is expected each file is sent.
        self._present = {} if target.query else present
        self._sizes = frozenset(self._present.values())
        self._tally = tally
        self._jobs: queue.SimpleQueue[tuple[Path, str]] = queue.SimpleQueue()
        self._stop = threading.Event()
        self.stopped: str | None = None

    def run(self, files: Sequence[tuple[Path, str]], parallel: int) -> None:
        """Send files, given with the names under which they are told of, until all are done or none can be."""
        for each in files:
            self._jobs.put(each)
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(min(parallel, len(files)))]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.2)
        except KeyboardInterrupt:
            self._stop.set()
            raise

    def _work(self) -> None:
        connection = self._target.connect()
        try:
            while not self._stop.is_set():
                path, name = self._jobs.get_nowait()
                self._upload(connection, path, name)
        except queue.Empty:
            pass
        except Stopped as error:
            self.stopped = str(error)
            self._stop.set()
        finally:
            connection.close()

    def _upload(self, connection: http.client.HTTPConnection, path: Path, name: str) -> None:
        size = 0
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                head = file.read(HEAD_BYTES)
            if head.startswith(LOCAL_HEADER) and beside_images(name, head) is None:
                self._upload_zip(connection, path, name)
            elif beside_images(name, head) is not None:
                self._tally.note(name, "skipped")
            elif not begins_like_dicom(head):
                self._tally.note(name, "refused", "not-dicom", "The file is not a DICOM file.")
            elif size in self._sizes and _sha256(path) in self._present:
                self._tally.note(name, "present")
            else:
                self._upload_file(connection, path, name)
        except OSError as error:
            self._tally.note(name, "failed", "unreadable", f"The file cannot be read: {error.strerror or error}.")
        self._tally.pass_by(size)

    def _upload_file(self, connection: http.client.HTTPConnection, path: Path, name: str) -> None:
        quoted = quote(path.name, safe="")
        headers = {
            "Content-Type": "application/dicom",
            "Content-Disposition": f"attachment; filename*=UTF-8''{quoted}",
        }
        answer = self._send(connection, path, headers)
        if answer is None:
            self._tally.note(name, "failed", "unavailable", "The service did not take the file.")
        elif answer.status in {200, 202}:
            self._tally.note(name, "uploaded")
        else:
            self._tally.note(name, "refused", *answer.problem)

    def _upload_zip(self, connection: http.client.HTTPConnection, path: Path, name: str) -> None:
        complete, told = False, False
        for number in range(TRIES):
            if number:
                self._wait(number, None)
            answer = self._send(connection, path, {"Content-Type": "application/zip"})
            if answer is None:
                break
            if answer.status != 200:
                self._tally.note(name, "refused", *answer.problem)
                return
            lines = _read_lines(answer.body)
            told = bool(lines) and "summary" in lines[-1]
            complete = told and lines[-1]["summary"]["complete"]
            # What is wrong with the ZIP itself is so the next time too.
            if complete or (told and not any(line.get("refused") in BUSY for line in lines)):
                break
        if answer is None or not told:
            self._tally.note(name, "failed", "unavailable", "The service did not take the whole ZIP.")
            return
        self._note_lines(name, lines)
        if not complete:
            self._tally.note(name, "failed", "broken-off", str(lines[-1]["summary"].get("detail", "")))

    def _note_lines(self, name: str, lines: Sequence[Mapping[str, Any]]) -> None:
        *members, last = lines
        for line in members:
            inner = f"{name}!{line['name']}"
            if "dicom_id" in line:
                self._tally.note(inner, "uploaded" if line["new"] else "present")
            elif "refused" in line:
                self._tally.note(inner, "refused", str(line["refused"]), str(line["detail"]))
            else:
                self._tally.note(inner, "skipped")
        with self._tally.lock:
            for person in last["summary"]["patients"]:
                self._tally.people[person["PatientID"], person["PatientName"]] += person["files"]

    def _send(self, connection: http.client.HTTPConnection, path: Path, headers: Mapping[str, str]) -> Answer | None:
        """Send a file, again where the service is busy or away; None where it stays so.

        Raises
        ------
        Stopped
            The token does not open this, so nothing will be taken.
        """
        for number in range(TRIES):
            try:
                answer = self._send_once(connection, path, headers)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if isinstance(error, OSError) and error.filename is not None:
                    raise  # it is the file that cannot be read
                self._wait(number + 1, None)
                continue
            if answer.status in FATAL:
                raise Stopped(f"The service refused: {answer.problem[1]}")
            if answer.status not in RETRIED:
                return answer
            self._wait(number + 1, answer.headers.get("retry-after"))
        return None

    def _send_once(self, connection: http.client.HTTPConnection, path: Path, headers: Mapping[str, str]) -> Answer:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            sent = {**headers, "Content-Length": str(size), "access-token": self._target.token}
            try:
                connection.request("POST", self._target.path + self._target.query, _pieces(file, self._stop), sent)
            except (BrokenPipeError, ConnectionResetError):
                if connection.sock is None:
                    raise
                # It was refused before its end; the answer says why, where it came through.
            response = connection.getresponse()
            body = response.read()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)

    def _wait(self, number: int, asked: str | None) -> None:
        if number >= TRIES:
            return
        seconds = float(asked) if asked and asked.isdecimal() else WAIT_SECONDS * 2 ** (number - 1)
        if self._stop.wait(min(seconds, MAX_WAIT_SECONDS)):
            raise Stopped("Interrupted.")


BUSY = frozenset({"unavailable", "database-unavailable", "overloaded", "worker-lost", "no-worker"})
"""Refusals of a member that another try may not meet."""


def _pieces(file: Any, stop: threading.Event) -> Iterator[bytes]:
    while piece := file.read(PIECE_BYTES):
        if stop.is_set():
            raise Stopped("Interrupted.")
        yield piece


def _read_lines(body: bytes) -> list[dict[str, Any]]:
    """Return the lines of an answer; the last one may be cut."""
    lines = []
    for line in body.splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_files(paths: Sequence[str]) -> list[tuple[Path, str]]:
    """Return every file of the paths, those of folders below them too, with the names under which they are told of.

    Raises
    ------
    UsageError
        One is not there.
    """
    found: list[tuple[Path, str]] = []
    for text in paths:
        path = Path(text)
        if path.is_dir():
            for folder, folders, names in os.walk(path):
                folders.sort()
                found += [(Path(folder, name), str(Path(folder, name))) for name in sorted(names)]
        elif path.exists():
            found.append((path, text))
        else:
            raise UsageError(f"There is no {text}.")
    return found


def list_present(target: Target) -> dict[str, int]:
    """Return the SHA-256 and the size of each file that the patient has.

    Raises
    ------
    Stopped
        The service does not tell.
    """
    present: dict[str, int] = {}
    offset = 0
    connection = target.connect()
    try:
        while True:
            connection.request(
                "GET", f"{target.path}?limit=1000&offset={offset}", headers={"access-token": target.token}
            )
            response = connection.getresponse()
            answer = Answer(response.status, {}, response.read())
            if answer.status == 403:
                return {}  # the token may only write: each file is sent, and the service knows it again
            if answer.status != 200:
                raise Stopped(f"The service refused: {answer.problem[1]}")
            instances = json.loads(answer.body)["instances"]
            present |= {each["sha256"]: each["size"] for each in instances}
            if not response.getheader("Link"):
                return present
            offset += len(instances)
    except (OSError, http.client.HTTPException) as error:
        raise Stopped(f"The service at {target.host} cannot be reached: {error}.") from None
    finally:
        connection.close()


def read_target(given: argparse.Namespace, environ: Mapping[str, str]) -> Target:
    """Return where files go.

    Raises
    ------
    UsageError
        The address or the token is missing or cannot be used.
    """
    try:
        address = urlsplit(given.url)
        port = address.port
    except ValueError:
        raise UsageError("The URL of the service cannot be read.") from None
    if address.scheme not in {"http", "https"} or not address.hostname:
        raise UsageError("The URL of the service must begin with http:// or https://.")
    token = environ.get("TOKEN", "")
    if given.token_file:
        try:
            token = Path(given.token_file).read_text("ascii")
        except (OSError, ValueError):
            raise UsageError(f"The token cannot be read from {given.token_file}.") from None
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable():
        raise UsageError("There is no token. Set TOKEN, or name a file with --token-file.")
    if address.scheme == "http" and not is_loopback(address.hostname):
        sys.stderr.write("Warning: the token and the files cross the network unencrypted. Use https.\n")
    root = f"{address.path.rstrip('/')}/patient/{quote(given.patient, safe='')}/dicom"
    query = f"?expect_patient_id={quote(given.expect_patient_id, safe='')}" if given.expect_patient_id else ""
    return Target(address.scheme, address.hostname, port, root, token, query)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python scripts/upload.py",
        description="Uploads DICOM files, folders of them and ZIPs to a running service, for one patient. What is not "
        "DICOM and lies beside images on a disc is passed over. Run again, it sends what is not there yet.",
        epilog="The token is that of the patient, in TOKEN or in a file: a command line can be read by others. Exit "
        "status: 0 everything is stored, 1 something was refused or failed, 2 wrong usage, 130 interrupted.",
        allow_abbrev=False,
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a file, a folder or a ZIP")
    parser.add_argument("--patient", required=True, metavar="ID", help="whose files they are, as plain text")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the service [http://127.0.0.1:8000]")
    parser.add_argument("--token-file", metavar="FILE", help="file with the token [TOKEN in the environment]")
    parser.add_argument("--expect-patient-id", metavar="ID", help="refuse files with another (0010,0020) PatientID")
    parser.add_argument("--parallel", type=positive, default=4, metavar="N", help="files at once [4]")
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON object on standard output")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None, environ: Mapping[str, str]) -> int:
    """Run the command, and return its exit status."""
    given = parse(arguments)
    try:
        target = read_target(given, environ)
        files = find_files(given.paths)
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    progress = Progress("Uploaded", quiet=given.quiet)
    tally = Tally(progress, sum(_size(path) for path, _ in files))
    began = time.monotonic()
    stopped: str | None = None
    status = 0
    try:
        uploader = Uploader(target, list_present(target), tally)
        uploader.run(files, given.parallel)
        stopped = uploader.stopped
    except Stopped as error:
        stopped = str(error)
    except KeyboardInterrupt:
        stopped, status = "Interrupted. Run it again to go on.", INTERRUPTED
    progress.end()
    if status == 0 and (stopped or tally.counts["refused"] or tally.counts["failed"]):
        status = 1
    _report(given, tally, stopped, time.monotonic() - began)
    return status


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _report(given: argparse.Namespace, tally: Tally, stopped: str | None, seconds: float) -> None:
    names = ("uploaded", "present", "skipped", "refused", "failed")
    counts = {name: tally.counts[name] for name in names}
    people = [{"PatientID": who[0], "PatientName": who[1], "files": n} for who, n in tally.people.most_common()]
    summary = {
        **counts,
        "bytes": tally.passed_bytes,
        "seconds": round(seconds, 1),
        "complete": stopped is None,
        "detail": stopped,
        "patients": people,
        "problems": tally.problems,
    }
    lines = [f"{each['outcome']} {each['path']}: {each['detail']}" for each in tally.problems]
    if len(people) > 1:
        lines.append(f"Warning: the ZIPs name {len(people)} different people.")
    lines.append(", ".join(f"{counts[name]} {name}" for name in names) + f" in {seconds:.1f} s")
    if stopped is not None:
        lines.append(stopped)
    print_summary(given, summary, lines)
