"""Hostile pickles: what each would do if its names were called, in every wrapping of a weight file."""

import io
import pickle
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from campaign.guard import CANARY


def calls(victim: Path) -> dict[str, tuple[str, Sequence[object]]]:
    """Return name -> (the global that is called, its arguments) of what a pickle may ask for.

    Args:
        victim: A file outside of the try's folder, which they would overwrite, truncate or delete.
    """
    target = str(victim)
    code = f"{CANARY} = open({target!r}, 'w').write('{CANARY}')"
    return {
        "os.system": ("os.system", (f"echo {CANARY} > {target}",)),
        "posix.system": ("posix.system", (f"echo {CANARY} > {target}",)),
        "subprocess": ("subprocess.Popen", (["/bin/sh", "-c", f"echo {CANARY} > {target}"],)),
        "exec": ("builtins.exec", (code,)),
        "eval": ("builtins.eval", (code.partition("= ")[2],)),
        "old exec": ("__builtin__.exec", (code,)),
        "open": ("builtins.open", (target, "w")),
        "io.open": ("io.open", (target, "wb")),
        "codecs.open": ("codecs.open", (target, "w")),
        "remove": ("os.remove", (target,)),
        "rmtree": ("shutil.rmtree", (str(victim.parent),)),
        "runpy": ("runpy.run_path", ("canary.py",)),
        "import": ("importlib.import_module", (CANARY,)),
        "__import__": ("builtins.__import__", (CANARY,)),
        "ctypes": ("ctypes.CDLL", ("libc.so.6",)),
        "socket": ("socket.create_connection", (("127.0.0.1", 9),)),
        "url": ("urllib.request.urlopen", ("http://127.0.0.1:9/",)),
        "browser": ("webbrowser.open", ("http://127.0.0.1:9/",)),
        "log file": ("logging.FileHandler", (target, "w")),
        "pickle": ("pickle.loads", (pickle.dumps(0),)),
        "torch.load": ("torch.load", (target,)),
        "torch.hub": ("torch.hub.load", ("127.0.0.1", "x")),
        "torch.jit": ("torch.jit.load", (target,)),
        "from_file": ("torch.from_file", (target, True, 16)),
        "storage file": ("torch.UntypedStorage.from_file", (target, True, 16)),
        "numpy.memmap": ("numpy.memmap", (target, "uint8", "w+", 0, (16,))),
        "numpy.save": ("numpy.save", (target, [1])),
        "numpy.load": ("numpy.load", (target,)),
        "getattr": ("builtins.getattr", ("x", "__class__")),
        "attrgetter": ("operator.attrgetter", ("__class__",)),
        "methodcaller": ("operator.methodcaller", ("system", "true")),
        "partial": ("functools.partial", (print, CANARY)),
        "inductor": ("torch._inductor.codecache.compile_file", (target, target, ["true"])),
        "rebuild type": ("torch._tensor._rebuild_from_type_v2", (eval, str, (code,), {})),
        "yaml": ("yaml.unsafe_load", (f"!!python/object/apply:os.system ['echo {CANARY}']",)),
        "timeit": ("timeit.timeit", (code,)),
        "cProfile": ("cProfile.run", (code,)),
        "pdb": ("pdb.run", (code,)),
        "pip": ("pip.main", (["--version"],)),
        "package": ("rskt_seg.commands.cli.main", (["weights", "list"],)),
    }


def stream(name: str, arguments: Sequence[object]) -> bytes:
    """Return a pickle that calls a global with arguments, and holds the result as a tensor's name."""
    module, _, attribute = name.rpartition(".")
    inner = pickle.dumps(tuple(arguments), protocol=2)[2:-1]
    call = f"c{module}\n{attribute}\n".encode() + inner + b"R"
    return b"\x80\x02}(X\x06\x00\x00\x00weight" + call + b"u."


def _plain(content: bytes) -> bytes:
    return content


def _archive(*members: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members:
            archive.writestr(f"archive/{name}", data)
    return buffer.getvalue()


def _zipped(content: bytes) -> bytes:
    """Return what `torch.save` writes: a zip archive with the pickle and its tensors."""
    return _archive(
        ("data.pkl", content),
        ("version", b"3\n"),
        ("byteorder", b"little"),
        ("data/0", b"\0" * 64),
    )


def _scripted(content: bytes) -> bytes:
    """Return a forged TorchScript archive."""
    return _archive(
        ("data.pkl", content),
        ("constants.pkl", b"\x80\x02)."),
        ("version", b"3\n"),
        ("code/__torch__.py", f"def {CANARY}(): pass\n".encode()),
        ("data/0", b"\0" * 64),
    )


def _legacy(content: bytes) -> bytes:
    """Return the format of torch before 1.6: a magic number, a protocol, the system, the object, its keys."""
    head = [
        pickle.dumps(part, protocol=2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    ]
    return b"".join([*head, content, pickle.dumps([], protocol=2)])


def _tarred(content: bytes) -> bytes:
    """Return the oldest format of torch, a tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


WRAPPINGS: dict[str, Callable[[bytes], bytes]] = {
    "plain.pth": _plain,
    "zip.pth": _zipped,
    "script.pt": _scripted,
    "legacy.pth": _legacy,
    "tar.pth": _tarred,
    "plain.pkl": _plain,
    "plain.bin": _plain,
    "named.safetensors": _plain,
    "zip.ckpt": _zipped,
}
"""Name of the file -> how a pickle is wrapped."""
