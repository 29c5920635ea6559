"""The flags by which verbs load a model."""

from dataclasses import dataclass

from activations import Subject, load
from activations.loading import Dtype


@dataclass(frozen=True, kw_only=True)
class SubjectFlags:
    """Which model, and how it is loaded."""

    model: str = "smollm2-135m-instruct"
    """An embedded model, a hub id, a folder, a .gguf file or an adapter folder."""
    adapters: tuple[str, ...] = ()
    """PEFT adapter folders to put on top; the first is active."""
    dtype: Dtype = "auto"
    """auto is float32 on a CPU and the checkpoint's own elsewhere."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""

    def subject(self) -> Subject:
        """Load it."""
        return load(self.model, adapters=self.adapters, dtype=self.dtype, device=self.device)
