"""Files in a bucket of S3, which clients reach with signed URLs.

See https://docs.aws.amazon.com/boto3/latest/guide/s3-presigned-urls.html.
"""

from typing import Any
from uuid import UUID, uuid4

import boto3
from botocore.config import Config
from flask import Blueprint, Flask, abort, current_app, redirect, request
from flask.typing import ResponseReturnValue

bp = Blueprint("files", __name__, url_prefix="/files")
TYPES = ["application/pdf", "image/jpeg", "image/png"]
LARGEST = 100_000_000  # bytes
SECONDS = 300  # in which a URL is valid


def init_app(app: Flask) -> None:
    """Create the client; it contacts no server, because signing a URL needs none."""
    app.extensions["s3"] = boto3.client(
        "s3",
        aws_access_key_id=app.config["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=app.config["AWS_SECRET_ACCESS_KEY"],
        config=Config(signature_version="s3v4"),
        endpoint_url=app.config["AWS_ENDPOINT_URL_S3"],
        region_name=app.config["AWS_DEFAULT_REGION"],
    )
    app.register_blueprint(bp)


@bp.post("")
def create() -> ResponseReturnValue:
    """Return the key of a new file, and the URL to which the client sends it."""
    match request.get_json():
        case {"type": str(kind), "size": int(size)} if kind in TYPES and 0 < size <= LARGEST:
            key = str(uuid4())
            url = signed("put_object", key, ContentType=kind, ContentLength=size)
            return {"key": key, "url": url}, 201
    abort(422, f"A file has a type of {', '.join(TYPES)}, and a size up to {LARGEST} bytes.")


@bp.get("/<uuid:key>")
def show(key: UUID) -> ResponseReturnValue:
    """Send the client to the file; browsers store it, and do not run what is in it."""
    return redirect(signed("get_object", str(key), ResponseContentDisposition="attachment"))


def signed(operation: str, key: str, **parameters: Any) -> str:
    """Return a URL with which a client may do one thing with one file."""
    parameters |= {"Bucket": current_app.config["S3_BUCKET"], "Key": key}
    client = current_app.extensions["s3"]
    url: str = client.generate_presigned_url(operation, Params=parameters, ExpiresIn=SECONDS)
    return url
