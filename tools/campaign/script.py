"""A TorchScript module whose loading overwrites a file, by itself because torch reads its source."""

import torch


class _Hostile(torch.nn.Module):
    """Map a file into memory and overwrite it when the module is loaded."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(4))
        self.path = path

    def forward(self, x):
        return x

    @torch.jit.export
    def __getstate__(self):
        return self.path, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]):
        self.path = state[0]
        self.training = state[1]
        mapped = torch.from_file(state[0], shared=True, size=32, dtype=torch.uint8)
        self.weight = mapped.copy_(torch.zeros(32, dtype=torch.uint8))


def hostile_module(path: str) -> torch.nn.Module:
    """Return a module that overwrites the file at `path` when an archive of it is loaded."""
    return _Hostile(path)
