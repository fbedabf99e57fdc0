"""The commands of scripts/, run as people run them, and what they are run on."""

import json
import os
import subprocess
import sys
from pathlib import Path

from pydicom.data import get_testdata_file

from service.settings import Settings
from tests.running_service import ROOT


def content(name):
    return Path(get_testdata_file(name, download=False)).read_bytes()


def environment(data_dir):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MONGODB_", "JWT_"))}
    return kept | {"DATA_DIR": str(data_dir)}


def start(script, data_dir, *flags, **options):
    command = [sys.executable, str(ROOT / "scripts" / f"{script}.py"), *flags]
    return subprocess.Popen(
        command, env=environment(data_dir), stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )


def run(script, data_dir, *flags):
    process = start(script, data_dir, *flags)
    out, err = process.communicate(timeout=120)
    return process.returncode, out.decode(), err.decode()


def summary(script, data_dir, *flags):
    status, out, err = run(script, data_dir, "--json", "--quiet", *flags)
    assert out, err
    return status, json.loads(out)


def settings_of(data_dir):
    return Settings.from_environment({}, {"data_dir": data_dir, "dev_mode": True})
