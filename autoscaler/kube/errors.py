"""What the API server can answer instead of what was asked, by what has to be done about it."""

from __future__ import annotations

import json
from typing import Any

from autoscaler.core.errors import ClusterError
from autoscaler.kube.resources import Call


class ApiError(ClusterError):
    """The API server refused or failed a call; `status` is 0 when there was no answer at all."""

    def __init__(self, text: str, status: int = 0, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.retry_after_s = retry_after_s  # what the server asked us to wait


class Unreachable(ApiError):  # noqa: N818 -- a state of the cluster, like those below
    """No answer, a broken one, or one too late: try again."""


class Unauthorized(ApiError):  # noqa: N818
    """401: our token or certificate is not accepted."""


class Forbidden(ApiError):  # noqa: N818
    """403: a rule is missing in our Role; the text names it."""


class MissingKind(ApiError):  # noqa: N818
    """404 on a whole kind: its CRD is not installed, or not in this version."""


class NotFound(ApiError):  # noqa: N818
    """404 on one object."""


class Conflict(ApiError):  # noqa: N818
    """409: someone else wrote first, owns the field, or the object exists already."""


class Gone(ApiError):  # noqa: N818
    """410: the resource version or the continue token is older than what the server keeps: list again."""


def from_answer(call: Call, status: int, body: bytes, retry_after: str | None = None) -> ApiError:
    """The error that an answer of the API server means; `body` is a `Status` object, or plain text."""
    document = _status(body)
    details = document.get("details")
    details = details if isinstance(details, dict) else {}
    said = str(document.get("message") or body[:200].decode("utf-8", "replace").strip() or "nothing more")
    if status == 404:
        return _missing(call, said, named=bool(details.get("name")))
    if status in _MEANINGS:
        kind, meaning = _MEANINGS[status]
        return kind(f"{call}: {meaning.format(rule=call.rule())} ({said})", status)
    wait_s = _seconds(retry_after, details.get("retryAfterSeconds"))
    what = "it is tried again" if status >= 500 or status == 429 else "expected 200"
    return ApiError(f"{call}: the API server answers {status}, {what}: {said}", status, wait_s)


_MEANINGS: dict[int, tuple[type[ApiError], str]] = {
    401: (Unauthorized, "the API server does not accept our credentials; is the token or certificate still valid?"),
    403: (Forbidden, "forbidden, our Role lacks the rule {rule}; add it, or leave the feature off"),
    409: (Conflict, "conflict: someone wrote first, owns the field, or made it already"),
    410: (Gone, "the version asked for is no longer kept"),
}


def _missing(call: Call, said: str, *, named: bool) -> ApiError:
    """404: a missing object is named in the details; about a kind it does not know the server names nothing."""
    if named:
        return NotFound(f"{call}: there is no such object ({said})", 404)
    below = f"/{call.subresource}" if call.subresource else ""
    kind = f"{call.resource.api_version}/{call.resource.plural}{below}"
    return MissingKind(
        f"{call}: the API server does not know {kind}; install its CRDs, or leave the feature off ({said})", 404
    )


def _status(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _seconds(*values: object) -> float | None:
    for value in values:
        if isinstance(value, (int, float)) or (isinstance(value, str) and value.strip().isdigit()):
            return float(value)
    return None
