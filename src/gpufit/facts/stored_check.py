"""Does the checkpoint hold what its configuration describes? The one check that neither file can do alone."""

from __future__ import annotations

from gpufit.facts.architecture import Architecture
from gpufit.facts.stored import StoredWeights
from gpufit.units import format_count


def difference_note(stored: StoredWeights, architecture: Architecture) -> str | None:
    """A sentence where stored elements and described parameters differ by more than 0.1 %; None where they agree.

    Packed formats hide their elements and are not compared. A tied matrix that is saved twice is no difference, nor
    are saved buffers, which are small. What remains is real: heads that the class leaves out (multi-token prediction),
    layers cut or added, a config.json of another model.
    """
    if stored.method not in (None, "gguf"):
        return None
    described = architecture.parameters
    tied = sum(group.copies * group.elements for group in architecture.tensors.groups if group.tied_to)
    extra = stored.elements - described
    if min(abs(extra), abs(extra - tied)) * 1000 <= described:
        return None
    reason = (
        "what the model class does not load stays on disk"
        if extra > 0
        else "it belongs to another model, or files are missing"
    )
    there, told = format_count(stored.elements), format_count(described)
    return f"the files hold {there} weights where the configuration describes {told}: {reason}"
