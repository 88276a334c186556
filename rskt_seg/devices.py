"""The accelerator of this machine."""

import platform
from typing import TypeVar

import torch

from rskt_seg.errors import DeviceError
from rskt_seg.typing import SegmentationModel

Model = TypeVar("Model", bound=SegmentationModel)


def default_device() -> str:
    """Return the type of this machine's accelerator, such as that of its GPUs, or "cpu" without one."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return "cpu" if found is None else found.type


def move_to(model: Model, device: torch.device | str) -> Model:
    """Move a model to a device.

    Args:
        model: The model.
        device: Such as "cpu", as torch names devices.

    Returns:
        The model.

    Raises:
        DeviceError: This machine does not have the device.
    """
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(
            f"cannot use device {device!s}: {str(error).splitlines()[0]}; choose another device"
        ) from error


def describe_device(device: str) -> str:
    """Return the type of a device with the name of its hardware, such as "cpu (x86_64)".

    Args:
        device: Such as "cpu", as torch names devices.

    Returns:
        Type and name.
    """
    kind = torch.device(device)
    name = platform.machine() if kind.type == "cpu" else torch.get_device_module(kind).get_device_name(kind)
    return f"{kind.type} ({name})"
