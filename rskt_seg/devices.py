"""The accelerator of this machine."""

import torch


def default_device() -> str:
    """Return the type of this machine's accelerator, such as that of its GPUs, or "cpu" without one."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return "cpu" if found is None else found.type
