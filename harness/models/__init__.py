"""Backends: what answers a prompt, behind one protocol.

Nothing heavy is imported here; a backend's own module is, when that backend is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from harness.errors import UnknownNameError, unknown_name_message

if TYPE_CHECKING:
    from harness.models.batches import BatchClient
    from harness.models.prices import Prices
    from harness.models.protocol import Backend, Settings
    from harness.store.batch_tracker import Address

# Backend name → (module, settings class, backend class).
_MODULES = {
    "openai": ("harness.models.hosted.client", "OpenAISettings", "OpenAIBackend"),
    "transformers": ("harness.local.transformers", "TransformersSettings", "TransformersBackend"),
    "ctranslate2": ("harness.local.ctranslate2", "CTranslate2Settings", "CTranslate2Backend"),
    "scripted": ("harness.serving.scripted", "ScriptedSettings", "ScriptedBackend"),
}
#: The backends of this version.
BACKENDS = tuple(_MODULES)


def settings_for(
    backend: str,
    values: Mapping[str, Any],
    *,
    also: Iterable[str] = (),
    where: str = "settings",
) -> Settings:
    """Read a backend's keys into its settings.

    Args:
        backend: one of :data:`BACKENDS`.
        values: the keys, as the experiment file has them.
        also: further keys that the same table may hold, for the list of choices.
        where: what an error message begins with.

    Raises:
        UnknownNameError: there is no such backend.
        ExperimentError: an unknown key (the nearest is named), or a value that does not fit. The
            value itself is not repeated: it may be a key pasted into the wrong place.
    """
    from harness.sections import read_section

    return read_section(_load(backend, 1, where), values, where, also=also)  # type: ignore[no-any-return]


def open_backend(
    settings: Settings, prices: Prices | None = None, peers: Sequence[Backend] = ()
) -> Backend:
    """The backend of these settings. Connects to nothing and reads no key yet.

    Args:
        prices: those of an experiment file, which come before the files of prices.
        peers: other backends of the same run; those of one endpoint and key share its limits.
    """
    return _load(settings.backend, 2)(settings, prices, peers)  # type: ignore[no-any-return]


def open_batch_client(address: Address) -> BatchClient:
    """The client of the Batch API that a batch was submitted to.

    Raises:
        CredentialsError: the key that the address names is not there.
    """
    from harness.models.hosted.batch_api import BatchAPI

    return BatchAPI.from_address(address)


def _load(backend: str, part: int, where: str = "settings") -> Any:
    if backend not in _MODULES:
        raise UnknownNameError(f"{where}: {unknown_name_message('backend', backend, BACKENDS)}")
    return getattr(import_module(_MODULES[backend][0]), _MODULES[backend][part])
