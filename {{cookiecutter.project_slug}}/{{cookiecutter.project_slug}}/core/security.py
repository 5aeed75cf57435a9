"""Security headers and proxies; ``config/settings.py`` sets hosts, cookies and size limits."""

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
    app.after_request(add_headers)
    if proxies := app.config["TRUSTED_PROXIES"]:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=proxies, x_proto=proxies, x_host=proxies
        )


def add_headers(response: Response) -> Response:
    """Add each header that the view has not set itself."""
    given = {name.lower() for name, _ in response.headers}  # faster than setdefault()
    response.headers.extend(item for item in HEADERS.items() if item[0].lower() not in given)
    if cdn := current_app.config["STATIC_HOST"]:
        csp = response.headers["Content-Security-Policy"]
        response.headers["Content-Security-Policy"] = csp.replace("src 'self'", f"src 'self' {cdn}")
    if request.is_secure:  # over HTTP, browsers ignore it: RFC 6797, section 7.2
        response.headers["Strict-Transport-Security"] = "max-age=31536000; includeSubDomains"
    return response
