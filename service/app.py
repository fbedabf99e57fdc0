"""The application: middlewares, resources, routes, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

from service.auth import Authenticator, shared_secret
from service.recovery import keep_recovering, keep_sweeping
from service.resources import open_context
from service.settings import Settings, SettingsError
from service.storage.store import Store
from service.web.cors import mark_origin, preflight
from service.web.keys import AUTHENTICATOR, CONTEXT, PUBLIC_ROUTES, SETTINGS
from service.web.middleware import authenticate, mark_response, problems, trace
from service.web.routes import add_routes, all_routes


def create_app(settings: Settings, *, store: Store | None = None) -> web.Application:
    """Make the application.

    Parameters
    ----------
    settings : Settings
        What the operator has set; `jwt_secret` must be there.
    store : Store, optional
        A store to use instead of the configured database.

    Raises
    ------
    SettingsError
        Where there is no key to verify tokens with.
    """
    if settings.jwt_secret is None:
        raise SettingsError("There is no key to verify tokens with.")
    app = web.Application(middlewares=[trace, problems, preflight, authenticate])
    app[SETTINGS] = settings
    app[AUTHENTICATOR] = Authenticator(
        shared_secret(settings.jwt_secret), issuer=settings.jwt_issuer, audience=settings.jwt_audience
    )
    app[PUBLIC_ROUTES] = add_routes(app.router, all_routes(settings))
    app.on_response_prepare.append(mark_response)
    app.on_response_prepare.append(mark_origin)

    async def resources(app: web.Application) -> AsyncIterator[None]:
        async with open_context(settings, store) as context:
            app[CONTEXT] = context
            background = [asyncio.create_task(task(context)) for task in (keep_recovering, keep_sweeping)]
            yield
            for each in background:
                each.cancel()
            await asyncio.wait(background)

    app.cleanup_ctx.append(resources)
    return app
