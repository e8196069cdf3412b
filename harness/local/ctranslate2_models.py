"""Models in CTranslate2's format: found or converted, checked against the machine, and opened.

The local backend opens a ``Generator`` here, NLLB translation a ``Translator``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from harness.errors import CheckpointError
from harness.local.allocation import keep_memory
from harness.local.checkpoints import (
    Checkpoint,
    converted_folder,
    peak_bytes,
    require_converter,
    require_memory,
)
from harness.local.checkpoints.conversion import Kind
from harness.local.checkpoints.devices import ComputeType, threads
from harness.local.checkpoints.memory import weights

_CLASSES: dict[Kind, str] = {"causal": "Generator", "seq2seq": "Translator"}


@dataclass(frozen=True)
class CTranslate2Model:
    """A checkpoint that CTranslate2 is to run.

    Args:
        checkpoint: in CTranslate2's layout, or in that of transformers.
        kind: ``causal`` continues a text, ``seq2seq`` translates one.
        device: ``cpu`` or ``cuda[:N]``, as :func:`~harness.local.checkpoints.pick_device` gives
            it. ``cuda`` is all GPUs for ``seq2seq``, whose batches do not depend on each other,
            and the first GPU for ``causal``.
        compute_type: one of :data:`~harness.local.checkpoints.devices.ComputeType`, not ``auto``.
    """

    checkpoint: Checkpoint
    kind: Kind
    device: str
    compute_type: str

    def require(self, *, advice: str) -> None:
        """Check that the checkpoint is converted or can be, and that it fits the memory.

        Args:
            advice: what the caller's user can do about too little memory, in sentences.

        Raises:
            CheckpointError: the converter is not installed, or the model does not fit.
        """
        require_converter(self.checkpoint)
        bytes_per_weight = peak_bytes(self.checkpoint, self.compute_type)
        require_memory(self.checkpoint, bytes_per_weight, self.device, advice=advice)

    @cached_property
    def folder(self) -> Path:
        """The converted model. The first access may convert the checkpoint, in minutes.

        Raises:
            CheckpointError: as :func:`~harness.local.checkpoints.converted_folder`.
        """
        return converted_folder(self.checkpoint, kind=self.kind)

    @cached_property
    def device_indices(self) -> list[int]:
        """The numbers of the devices that the model is loaded on."""
        import ctranslate2

        if self.device == "cuda" and self.kind == "seq2seq":
            return list(range(ctranslate2.get_cuda_device_count()))
        return [int(self.device.partition(":")[2] or 0)]

    def open(self) -> Any:
        """Load the model: a ``ctranslate2.Generator`` or ``ctranslate2.Translator``.

        Raises:
            CheckpointError: the device cannot compute in the type, or CTranslate2 cannot load
                the folder.
        """
        import ctranslate2

        name = self.checkpoint.name
        device = self.device.partition(":")[0]
        supported = ctranslate2.get_supported_compute_types(device, self.device_indices[0])
        if self.compute_type not in supported:
            choices = sorted(supported & {*get_args(ComputeType)})
            raise CheckpointError(
                f"Model '{name}': compute_type = \"{self.compute_type}\" cannot be computed on "
                f"{self.device} here. Choices: auto, {', '.join(choices)}."
            )
        keep_memory()  # before the engine's own threads begin
        try:
            return getattr(ctranslate2, _CLASSES[self.kind])(
                str(self.folder),
                device=device,
                device_index=self.device_indices,
                compute_type=self.compute_type,
                intra_threads=threads(weights(self.checkpoint)),
            )
        except (RuntimeError, ValueError, MemoryError) as error:
            raise CheckpointError(
                f"Model '{name}': CTranslate2 cannot load {self.folder}: {error}. Convert the "
                f"model again: a folder under the user's cache is made again once it is removed."
            ) from None


def is_out_of_memory(error: Exception) -> bool:
    """Whether CTranslate2 failed because a batch did not fit the memory of CPU or GPU."""
    return isinstance(error, MemoryError) or "memory" in str(error).lower()
