"""How faces are restored, and what is made beside the restored image."""

from dataclasses import dataclass, field
from typing import NamedTuple

from frex.restore.detection.selection import Selection


@dataclass(frozen=True)
class RestoreOptions:
    """What the flags of the same names ask for."""

    fidelity_weight: float = 1.0
    structure_weight: float = 1.0
    upscale: float = 1.0
    no_face: str = 'copy'
    save_3d: bool = False
    save_weights_map: bool = False
    force: bool = False
    selection: Selection = field(default_factory=Selection)

    @property
    def details(self) -> bool:
        """Whether more of the network's output is needed than the restored face."""
        return self.save_3d or self.save_weights_map


class ExtraOutputs(NamedTuple):
    """What the network is asked for: see `FREx.forward`. With `details`, all that it can make."""

    fidelity: float = 1.0
    structure: float = 1.0
    details: bool = False
