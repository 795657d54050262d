"""How to get into the cluster: in a pod by its ServiceAccount, elsewhere by a kubeconfig; credentials that rotate."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autoscaler.core.errors import ClusterError
from autoscaler.kube.library import library

if TYPE_CHECKING:
    from kubernetes_asyncio.client import Configuration

# Where every pod finds its ServiceAccount.
# https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/#directly-accessing-the-rest-api
SERVICE_ACCOUNT_FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the API server is, and how it is recognised; `tls` is None for plain http (tests, `kubectl proxy`)."""

    host: str
    tls: ssl.SSLContext | None
    server_name: str | None = None
    proxy: str | None = None


class Connection:
    """Address and credentials of one cluster; reads what rotates again.

    `load` fills a kubernetes_asyncio `Configuration`; it is called at first, and again after the server said 401.
    """

    def __init__(self, source: str, load: Callable[[Configuration], Awaitable[object]]) -> None:
        self.source = source  # in words, for errors and `doctor`
        self.generation = 0  # how often it was read
        self._load = load
        self._configuration: Configuration | None = None
        self._context: tuple[object, ssl.SSLContext] | None = None
        self._loading = asyncio.Lock()

    async def place(self) -> Place:
        """Where to connect to. Raises ClusterError (the configuration cannot be used)."""
        configuration = await self._current()
        host = str(configuration.host).rstrip("/")
        tls = self._tls(configuration) if host.startswith("https:") else None
        return Place(host, tls, configuration.tls_server_name, configuration.proxy)

    async def authorization(self) -> str | None:
        """The Authorization header of the next request; in a pod the token file is read again every minute."""
        configuration = await self._current()
        try:
            token = await configuration.get_api_key_with_prefix("BearerToken")
        except Exception as error:  # noqa: BLE001 -- loaders raise what they like: OSError, ConfigException, ValueError
            raise ClusterError(f"{self.source}: its token cannot be read: {error}") from None
        return str(token).strip() if token else None

    async def reload(self, refused: int) -> None:
        """Read everything again: the server did not accept what we sent (a token that rotated, a plugin's expired).

        `refused` is the `generation` that was sent: of many calls refused at once only the first reads again.
        """
        async with self._loading:
            if self.generation == refused:
                self._configuration = await self._loaded()

    async def _current(self) -> Configuration:
        async with self._loading:
            if self._configuration is None:
                self._configuration = await self._loaded()
            return self._configuration

    async def _loaded(self) -> Configuration:
        configuration: Configuration = library().configuration()
        try:
            await self._load(configuration)
        except Exception as error:  # noqa: BLE001 -- loaders raise what they like: OSError, ConfigException, YAMLError
            raise ClusterError(f"{self.source}: cannot be used: {error}") from None
        self.generation += 1
        return configuration

    def _tls(self, configuration: Configuration) -> ssl.SSLContext:
        """The TLS context; made anew when its files change, as rotated authorities and certificates do."""
        files = (configuration.ssl_ca_cert, configuration.cert_file, configuration.key_file)
        try:
            stamp: object = (
                configuration.verify_ssl,
                *((file, Path(file).stat().st_mtime_ns) for file in files if file),
            )
            if self._context is None or self._context[0] != stamp:
                self._context = (stamp, _context(configuration))
        except OSError as error:  # also ssl.SSLError: a file that is no certificate
            raise ClusterError(f"{self.source}: its TLS files cannot be used: {error}") from None
        return self._context[1]


def _context(configuration: Configuration) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    # Python 3.13 refuses authorities without key identifiers, which older clusters have and every Go client accepts.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    return context


def in_cluster(folder: Path = SERVICE_ACCOUNT_FOLDER, environ: Mapping[str, str] | None = None) -> Connection:
    """The connection of a pod, by its ServiceAccount's token and authority in `folder`."""

    async def load(configuration: Configuration) -> None:
        loader = library().in_cluster(
            token_filename=str(folder / "token"),
            cert_filename=str(folder / "ca.crt"),
            environ=dict(os.environ if environ is None else environ),
        )
        loader.load_and_set(configuration)

    return Connection(f"the pod's ServiceAccount in {folder}", load)


def from_kubeconfig(path: str | None = None, context: str | None = None) -> Connection:
    """The connection of a kubeconfig's (current) context; no path: as kubectl looks for it."""

    async def load(configuration: Configuration) -> None:
        await library().kubeconfig(file, context, configuration, persist_config=False)

    file = path or os.environ.get("KUBECONFIG") or "~/.kube/config"  # the library reads the variable when imported only
    return Connection(f"kubeconfig {file}", load)


def find(kubeconfig: str | None = None, context: str | None = None) -> Connection | None:
    """A kubeconfig that was named, else the pod's own account, else what kubectl would use; None: no cluster."""
    if kubeconfig or context:
        return from_kubeconfig(kubeconfig, context)
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return in_cluster()
    files = os.environ.get("KUBECONFIG", str(Path.home() / ".kube" / "config")).split(os.pathsep)
    return from_kubeconfig() if any(Path(file).expanduser().is_file() for file in files if file) else None
