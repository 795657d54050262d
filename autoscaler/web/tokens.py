"""The bearer token of the wake API, read anew for every check so that a rotated one counts at once."""

from __future__ import annotations

import hmac
from pathlib import Path

from autoscaler.core.errors import ClusterError


class TokenFile:
    """A file that holds one token; an empty one lets nobody in."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def token(self) -> str:
        """The token now. Raises ClusterError if the file cannot be read."""
        try:
            return self._path.read_text().strip()
        except OSError as error:
            raise ClusterError(f"the wake token file cannot be read: {error.strerror}") from None

    def admits(self, header: str) -> bool:
        """Whether an `Authorization` header shows the token. Raises ClusterError if the file cannot be read."""
        token = self.token()
        return bool(token) and hmac.compare_digest(header.encode(), f"Bearer {token}".encode())
