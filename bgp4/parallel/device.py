"""Names of devices, checked before torch is imported."""

from bgp4.errors import UserInputError

__all__ = ["check_device"]


def check_device(name: str) -> None:
    """Raise UserInputError unless it is auto, cpu or cuda."""
    if name not in ("auto", "cpu", "cuda"):
        raise UserInputError(f"--device: expected auto, cpu or cuda, found {name}")
