"""Every route of a service, whether it is public, and a path that leads there."""

from aiohttp import hdrs

from service.web.static_files import FILES

PUBLIC = {
    ("GET", "/"),
    ("GET", "/s"),
    *(("GET", f"/static/{name}") for name in FILES),
    ("GET", "/docs"),
    ("GET", "/openapi.json"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/patient/{patient_id}/token"),
    ("POST", "/shares/session"),
}


def all_routes(service):
    for route in service.app.router.routes():
        method = hdrs.METH_GET if route.method == hdrs.METH_HEAD else route.method
        yield route.method, route.resource.canonical, (method, route.resource.canonical) in PUBLIC


def concrete(template):
    for name, value in (
        ("patient_id", "p-1"),
        ("dicom_id", "5b1f0000-0000-5000-8000-000000000000"),
        ("share_id", "b2c7e0de-5f0e-4b52-9d5c-1f3a6a0f8c11"),
        ("tag", "00080060"),
        ("path", "PixelData"),
        ("study", "1.2.3"),
        ("series", "1.2.3.4"),
        ("instance", "1.2.3.4.5"),
        ("frames", "1"),
    ):
        template = template.replace(f"{{{name}}}", value)
    assert "{" not in template
    return template
