"""Security headers and trusted proxies; hosts, cookies and sizes are in ``config/settings.py``."""

from flask import Flask, Response, current_app, request
from werkzeug.middleware.proxy_fix import ProxyFix

POLICY = [
    "default-src 'self'",
    "base-uri 'self'",
    "form-action 'self'",
    "frame-ancestors 'none'",
    "object-src 'none'",
{% if cookiecutter.frontend == "hotwire" %}
    # The style of Turbo's progress bar; if it changes, the browser's console shows the new hash
    "style-src 'self' 'sha256-WAyOw4V+FqDc35lQPyRADLBWbuNK8ahvYEaQIYF1+Ps='",
{% endif %}
]
# Recommended by the OWASP Secure Headers Project: https://owasp.org/www-project-secure-headers/
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "; ".join(POLICY),
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "strict-origin-when-cross-origin",  # Flask-WTF needs it over HTTPS
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Permitted-Cross-Domain-Policies": "none",
}


def init_app(app: Flask) -> None:
    """Add the headers to every response, and trust the proxies in front."""
    app.extensions["security_headers"] = all_headers(app)
    app.after_request(add_headers)
    if proxies := app.config["TRUSTED_PROXIES"]:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=proxies, x_proto=proxies, x_host=proxies
        )


def all_headers(app: Flask) -> dict[str, str]:
    """Return the headers; each directive that ends with -src allows ``STATIC_HOST``, if set."""
    sources = f"src 'self' {app.config['STATIC_HOST']}".strip()
    policy = HEADERS["Content-Security-Policy"].replace("src 'self'", sources)
    return HEADERS | {"Content-Security-Policy": policy}


def add_headers(response: Response) -> Response:
    """Add each header that the view has not set itself."""
    headers = current_app.extensions["security_headers"]
    missing = {name: headers[name] for name in headers if name not in response.headers}
    response.headers.extend(missing)
    if request.is_secure:  # over HTTP, browsers ignore it: RFC 6797, section 7.2
        response.headers["Strict-Transport-Security"] = "max-age=31536000; includeSubDomains"
    return response
