"""python -m service: flags and environment to settings, and the service runs until it is told to stop."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import fields, replace

from service.auth.tokens import keep_dev_secret
from service.launch.kernel import hide_memory
from service.launch.run import announce, refuse, serve, set_up_logging, until_it_ends
from service.launch.supervisor import supervise
from service.settings import Settings, SettingsError, default_text, dev_mode_refusal, is_loopback, variable
from service.web.server import address_of, listen

log = logging.getLogger("service")


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line from the table of settings."""
    secret = [f"{variable(each)} ({each.metadata['help']})" for each in fields(Settings) if not each.metadata["flag"]]
    parser = argparse.ArgumentParser(
        prog="python -m service",
        description="A DICOM store: upload files, ask for any tag, see the pictures.",
        epilog=f"Each setting can also be given as an environment variable, named in brackets; a flag wins. "
        f"What may hold a secret has a variable only: {', '.join(secret)}; or a file, which the variable with _FILE "
        "behind its name names. "
        "To try it on this machine: python -m service --dev",
        # An abbreviated flag would mean another one day, when a flag is added that begins alike.
        allow_abbrev=False,
    )
    for setting in fields(Settings):
        if not setting.metadata["flag"]:
            continue
        text = f"{setting.metadata['help']} [{variable(setting)}; {default_text(setting)}]".replace("%", "%%")
        if setting.name == "dev_mode":
            parser.add_argument("--dev", dest="dev_mode", action="store_const", const=True, help=text)
        else:
            flag = "--" + setting.name.replace("_", "-")
            parser.add_argument(flag, dest=setting.name, metavar=setting.name.upper(), help=text)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the service; what keeps it from starting is told in a sentence.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line without the program's name.

    Returns
    -------
    int
        The exit status: 0, 1 where something it needs is not there, 2 where it is not set up rightly.
    """
    hide_memory()
    given = make_parser().parse_args(arguments)
    try:
        settings = Settings.from_environment(os.environ, vars(given))
        if settings.dev_mode and settings.jwt_secret is None:
            settings = replace(settings, jwt_secret=keep_dev_secret(settings.data_dir))
    except SettingsError as error:
        return refuse(str(error), 2)
    except OSError as error:
        return refuse(f"The data directory cannot be used: {error.strerror} ({error.filename}).", 1)
    set_up_logging(settings)
    if settings.jwt_jwks is not None and (settings.jwt_issuer is None or settings.jwt_audience is None):
        log.warning(
            "JWT_ISSUER or JWT_AUDIENCE is unset: tokens that these keys signed for other services open this one"
        )
    try:
        listener = listen(settings.host, settings.port)
    except OSError as error:
        return refuse(
            f"Cannot listen on {settings.host}:{settings.port}: {error.strerror or error}. "
            "Is another service running there? --port takes another port, 0 a free one.",
            1,
        )

    address = address_of(listener)

    def ready() -> None:
        announce(settings, address)

    with listener:
        if settings.dev_mode and not is_loopback(listener.getsockname()[0]):
            return refuse(dev_mode_refusal(settings.host), 2)
        if settings.workers > 1:
            return until_it_ends(settings, lambda: supervise(settings, listener, ready))
        return serve(settings, listener, ready)


if __name__ == "__main__":
    sys.exit(main())
