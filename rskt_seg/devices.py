"""The accelerator of this machine."""

import platform

import torch


def default_device() -> str:
    """Return the type of this machine's accelerator, such as that of its GPUs, or "cpu" without one."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return "cpu" if found is None else found.type


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
