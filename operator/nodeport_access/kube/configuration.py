"""Where the API server is and who we are: read from a kubeconfig as kubectl reads it, or from the pod we run in.

Not its business: to use any of it (``wire``). It reads files, runs exec plugins, and never asks the API server.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from nodeport_access.api import Body
from nodeport_access.kube.errors import ConfigurationError, one_line
from nodeport_access.kube.library import (
    SERVICE_CERT_FILENAME,
    SERVICE_TOKEN_FILENAME,
    ApiClient,
    ConfigException,
    Configuration,
    InClusterConfigLoader,
    load_kube_config,
)

POOL_SIZE = 48
"""Requests under way at once; more wait for a connection, in the time that they have (``wire``)."""


async def load_configuration(
    *, kubeconfig: str | None, context: str | None, environ: Mapping[str, str]
) -> Configuration:
    """Reads the file given, else the files of ``$KUBECONFIG`` (merged as kubectl does), else the pod's service account.

    The token file of a service account is read again every minute, by the hook that kubernetes leaves in the
    Configuration. A proxy is taken from ``proxy-url`` of the kubeconfig, never from the environment. Certificates are
    verified as kubectl does it, on every Python: 3.13 and newer would refuse authorities without key identifiers.

    Raises ConfigurationError.
    """
    configuration = Configuration(connection_pool_maxsize=POOL_SIZE)
    configuration.disable_strict_ssl_verification = True
    if kubeconfig:
        await _load_files(configuration, files=_read_files([kubeconfig], optional=False), context=context)
    elif environ.get("KUBECONFIG"):
        paths = [path for path in environ["KUBECONFIG"].split(os.pathsep) if path]
        await _load_files(configuration, files=_read_files(paths, optional=True), context=context)
    elif context:
        raise ConfigurationError(f"context {context!r} needs a kubeconfig: give --kubeconfig FILE, or set $KUBECONFIG.")
    else:
        _load_service_account(configuration, environ)
    try:
        ApiClient(configuration)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"the certificates for {configuration.host} cannot be used ({one_line(error)}):"
            " look at certificate-authority, client-certificate and client-key in the kubeconfig."
        ) from error
    return configuration


def context_namespace(*, kubeconfig: str | None, context: str | None, environ: Mapping[str, str]) -> str:
    """The namespace that kubectl would use where none is named: the context's, else the pod's, else ``default``. Raises
    ConfigurationError where ``load_configuration`` does."""
    if kubeconfig or environ.get("KUBECONFIG"):
        paths = [kubeconfig] if kubeconfig else [one for one in environ["KUBECONFIG"].split(os.pathsep) if one]
        files = _read_files(paths, optional=not kubeconfig)
        chosen = context or next((it["current-context"] for it in files.values() if it.get("current-context")), "")
        return str(_named(files, "contexts", "context").get(str(chosen), {}).get("namespace") or "default")
    return own_namespace() or "default"


def own_namespace() -> str:
    """The namespace of the pod that we run in; empty outside of pods with a service account."""
    file = Path(SERVICE_TOKEN_FILENAME).with_name("namespace")
    return file.read_text(encoding="utf-8").strip() if file.is_file() else ""


def _read_files(paths: list[str], *, optional: bool) -> dict[str, Body]:
    """The kubeconfigs that are there and not empty, by path. kubectl too passes over a missing file of a list."""
    files: dict[str, Body] = {}
    for path in paths:
        try:
            parsed = yaml.safe_load(Path(path).expanduser().read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            if not optional:
                raise ConfigurationError(f"kubeconfig {path} does not exist: name another by --kubeconfig.") from error
            continue
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigurationError(
                f"kubeconfig {path} cannot be read ({one_line(error)}): mend it, or name another by --kubeconfig."
            ) from error
        if parsed and not isinstance(parsed, dict):
            raise ConfigurationError(f"kubeconfig {path} is not a mapping: name another by --kubeconfig.")
        if parsed:
            files[path] = parsed
    if not files:
        raise ConfigurationError(f"kubeconfig {os.pathsep.join(paths)} holds nothing: name another by --kubeconfig.")
    return files


async def _load_files(configuration: Configuration, *, files: dict[str, Body], context: str | None) -> None:
    """Of several files the first that names a context, user or cluster wins, and the first current-context."""
    where = f"kubeconfig {os.pathsep.join(files)}"
    contexts = _named(files, "contexts", "context")
    known = ", ".join(sorted(contexts)) or "none"
    chosen = context or next((str(it["current-context"]) for it in files.values() if it.get("current-context")), None)
    if chosen is None:
        raise ConfigurationError(f"{where} has no current-context: choose one with --context (it has: {known}).")
    if chosen not in contexts:
        raise ConfigurationError(f"{where} has no context {chosen!r}: choose one with --context (it has: {known}).")
    user_name = contexts[chosen].get("user") or ""
    users = _named(files, "users", "user")
    if user_name and user_name not in users:
        raise ConfigurationError(f"{where} has no credentials for {user_name!r}, the user of its context {chosen!r}.")
    try:
        load: Any = load_kube_config  # it carries no annotations
        await load(os.pathsep.join(files), context=chosen, client_configuration=configuration, persist_config=False)
    except Exception as error:  # to a malformed file the loader answers with whatever Python raises
        why = one_line(error) if user_name else "it names no user"
        raise ConfigurationError(f"{where}: its context {chosen!r} cannot be used ({why}).") from error
    if token := configuration.api_key.get("BearerToken"):
        configuration.api_key["BearerToken"] = token.strip()  # a token file ends in a newline, a header must not
    elif "exec" in users.get(user_name, ()) and not configuration.cert_file:
        command = (users[user_name]["exec"] or {}).get("command")
        raise ConfigurationError(f"{where}: the exec plugin {command!r} of user {user_name!r} gave no credentials.")


def _named(files: dict[str, Body], section: str, content: str) -> dict[str, Body]:
    found: dict[str, Body] = {}
    for file in files.values():
        for entry in file.get(section) or ():
            if isinstance(entry, dict) and isinstance(entry.get("name"), str):
                found.setdefault(entry["name"], entry.get(content) or {})
    return found


def _load_service_account(configuration: Configuration, environ: Mapping[str, str]) -> None:
    try:
        loader: Any = InClusterConfigLoader  # it carries no annotations
        loader(
            token_filename=SERVICE_TOKEN_FILENAME, cert_filename=SERVICE_CERT_FILENAME, environ=environ
        ).load_and_set(configuration)
    except (ConfigException, OSError) as error:
        raise ConfigurationError(
            "no configuration: give --kubeconfig FILE, or set $KUBECONFIG"
            f" (this is not a pod with a service account: {one_line(error)})."
        ) from error
