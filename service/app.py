"""The application: middlewares, resources, routes, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

from service import __version__
from service.auth.jwks import SetUnavailable
from service.auth.key_source import KeySource, published_keys
from service.auth.keys import KeySet, UnusableKeys, shared_secret
from service.auth.tokens import Authenticator
from service.resources import open_context
from service.settings import Settings, SettingsError
from service.storage.store import Store
from service.usecases.audit import Audit
from service.usecases.metrics import Measuring
from service.usecases.recovery import keep_near_true, keep_recovering, keep_sweeping
from service.web.admission import open_admissions
from service.web.app_keys import (
    ADMISSIONS,
    API_DOCUMENT,
    AUDIT,
    AUTHENTICATOR,
    CONTEXT,
    KEY_SOURCE,
    MEASURING,
    ROUTES,
    SETTINGS,
)
from service.web.cors import mark_origin, preflight
from service.web.middleware import admit, authenticate, mark_response, problems
from service.web.openapi.document import create_document
from service.web.openapi.handler import encode
from service.web.route import add_routes
from service.web.routes import all_routes


def create_app(settings: Settings, *, store: Store | None = None) -> web.Application:
    """Make the application.

    Parameters
    ----------
    settings : Settings
        What the operator has set; `jwt_secret` or `jwt_jwks` must be there.
    store : Store, optional
        A store to use instead of the configured database.

    Raises
    ------
    SettingsError
        Where there is no key to verify tokens with.
    """
    app = web.Application(middlewares=[problems, preflight, authenticate, admit])
    app[SETTINGS] = settings
    app[ADMISSIONS] = open_admissions(settings)
    keys = find_keys(settings)
    app[AUTHENTICATOR] = Authenticator(
        keys, issuer=settings.jwt_issuer, audience=settings.jwt_audience, max_lifetime=settings.jwt_max_lifetime
    )
    routes = all_routes(settings)
    app[ROUTES] = add_routes(app.router, routes)
    app[API_DOCUMENT] = encode(create_document(routes))
    app.on_response_prepare.append(mark_response)
    app.on_response_prepare.append(mark_origin)

    async def resources(app: web.Application) -> AsyncIterator[None]:
        async with open_context(settings, store) as context:
            context.metrics.build(__version__)
            app[CONTEXT], app[AUDIT] = context, Audit(context.store.audit, context.metrics)
            app[MEASURING] = Measuring(context, keys if isinstance(keys, KeySource) else None)
            work = (
                keep_recovering(context),
                keep_sweeping(context),
                keep_near_true(context),
                app[AUDIT].keep_writing(),
                app[MEASURING].keep(),
            )
            background = [asyncio.create_task(each) for each in work]
            yield
            for each in background:
                each.cancel()
            await asyncio.wait(background)
            await app[MEASURING].close()
            await app[AUDIT].close()

    if isinstance(keys, KeySource):
        app[KEY_SOURCE] = keys
        app.cleanup_ctx.append(keys.kept)
    app.cleanup_ctx.append(resources)
    return app


def find_keys(settings: Settings) -> KeySet | KeySource:
    """Return the key of the settings, or the place where keys are published.

    Raises
    ------
    SettingsError
        Where they cannot be used.
    """
    named = "JWT_SECRET"
    try:
        if settings.jwt_jwks is not None:
            named = f"The file {settings.jwt_jwks} of JWT_JWKS"
            return published_keys(settings.jwt_jwks, settings.jwt_jwks_refresh, settings.jwt_jwks_keep)
        if settings.jwt_secret is not None:
            return shared_secret(settings.jwt_secret)
    except (SetUnavailable, UnusableKeys) as error:
        raise SettingsError(f"{named} cannot be used: {str(error).rstrip('.')}.") from None
    raise SettingsError("There is no key to verify tokens with.")
