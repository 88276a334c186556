"""Files that are made to do harm: each must be refused, and nothing outside of its folder may change."""

import io
import os
import random
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from campaign.children import Call, run
from campaign.guard import CANARY
from campaign.judging import misconduct, read_results
from campaign.material import NAMES, Material, own_dataset
from campaign.outcomes import Outcome, Verdict, has_reason
from campaign.pickles import WRAPPINGS, calls, stream

LIMIT = 10.0
_ROOM = 256 << 20
_PRECIOUS = b"precious " * 20
Case = Callable[[Material, Path, Path, random.Random], Call]
"""Writes hostile files into a folder, aimed at a victim outside; returns the command that reads them."""


def attack(material: Material, folder: Path, seed: int) -> Verdict:
    """Give a command a hostile file, and look at what it did.

    Args:
        material: What the commands need besides.
        folder: An empty folder; the victim lies beside it.
        seed: Decides which of the files.
    """
    rng = random.Random(f"evil:{seed}")
    name = rng.choice(list(CASES))
    outside = folder.parent / "outside"
    outside.mkdir()
    victim = outside / "victim.txt"
    victim.write_bytes(_PRECIOUS)
    call = CASES[name](material, folder, victim, rng)
    (folder / f"{CANARY}.py").write_text(f"open({str(victim)!r}, 'w').write('{CANARY}')\n")
    (folder / "canary.py").write_text(f"{CANARY} = open({str(victim)!r}, 'w').write('{CANARY}')\n")
    ended = run(call, folder, LIMIT, largest=_ROOM)
    verdict = misconduct(ended)
    if os.listdir(outside) != [victim.name] or victim.read_bytes() != _PRECIOUS:
        verdict = Verdict(Outcome.OUTSIDE, f"the victim has changed\n{ended.output[-2000:]}")
    if verdict is None and ended.status == 0 and _is_harmless(folder / "out", material):
        verdict = Verdict(Outcome.RIGHT)
    if verdict is None and ended.status == 0:
        verdict = Verdict(Outcome.SILENT, f"taken for a good file\n{ended.output[-2000:]}")
    if verdict is None and not has_reason(ended.output):
        verdict = Verdict(Outcome.UNTOLD, f"status {ended.status}\n{ended.output[-2000:]}")
    verdict = verdict or Verdict(Outcome.REFUSED)
    return Verdict(verdict.outcome, f"{name}: {verdict.detail}", ended.seconds)


def _is_harmless(out: Path, material: Material) -> bool:
    """Return whether a prepared set is that of the official download: what was hostile had no part in it."""
    found, known = (read_results(folder, "UDD5/all/*/*") for folder in (out, material.root / "prepared"))
    return bool(found) and found == known


# Weight files.


def _weigh(material: Material, folder: Path, name: str, content: bytes, rng: random.Random) -> Call:
    (folder / name).write_bytes(content)
    if rng.random() < 0.5:
        return material.convert(name, "out/made.safetensors")
    return material.segment("out", [str(material.images[0])], NAMES, name)


def _pickle(material: Material, folder: Path, victim: Path, rng: random.Random) -> Call:
    gadget, arguments = rng.choice(list(calls(victim).values()))
    name = rng.choice(list(WRAPPINGS))
    return _weigh(material, folder, name, WRAPPINGS[name](stream(gadget, arguments)), rng)


def _script(material: Material, folder: Path, victim: Path, rng: random.Random) -> Call:
    """Write a TorchScript archive whose `__setstate__` overwrites the victim, and restore the victim."""
    path = folder / rng.choice(("evil.pt", "evil.pth", "evil.ckpt"))
    made = run(partial(_write_script, path, victim), victim.parent, LIMIT)
    assert made.status == 0, made.output
    for each in victim.parent.iterdir():
        each.rmdir() if each.is_dir() else each.unlink()
    victim.write_bytes(_PRECIOUS)
    return _weigh(material, folder, path.name, path.read_bytes(), rng)


def _write_script(path: Path, victim: Path) -> int:
    import torch

    from campaign.script import hostile_module

    torch.jit.script(hostile_module(str(victim))).save(str(path))
    return 0


def _bombs(material: Material, folder: Path, _victim: Path, rng: random.Random) -> Call:
    """Write streams and headers that exhaust memory or stack."""
    deep = b"\x80\x02" + b"(" * 200_000 + b"t" * 200_000 + b"."
    memo = b"\x80\x02Nr" + struct.pack("<I", 2**31 - 1) + b"."
    huge = struct.pack("<Q", 2**40) + b"{}"
    nested = b'{"__metadata__":{"options":"' + b"[" * 100_000 + b'"}}'
    zeros = io.BytesIO()
    with zipfile.ZipFile(zeros, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", stream("collections.OrderedDict", ()))
        archive.writestr("archive/version", b"3\n")
        with archive.open("archive/data/0", "w", force_zip64=True) as member:
            for _ in range(200):
                member.write(bytes(1 << 20))
    choices = {
        "deep.pth": deep,
        "deep.pt": WRAPPINGS["script.pt"](deep),
        "memo.pth": WRAPPINGS["zip.pth"](memo),
        "memo.pt": WRAPPINGS["script.pt"](memo),
        "huge.safetensors": huge,
        "nested.safetensors": struct.pack("<Q", len(nested)) + nested,
        "zeros.pth": zeros.getvalue(),
    }
    name = rng.choice(list(choices))
    return _weigh(material, folder, name, choices[name], rng)


# YAML.


def _yaml_texts(victim: Path) -> list[str]:
    apply = f"!!python/object/apply:os.system ['echo {CANARY} > {victim}']"
    laughs = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    return [
        apply,
        f"name: {apply}",
        f"_BASE_: {apply}",
        "!!python/object/new:os.system [true]",
        "!!python/name:os.system",
        "!!python/module:os",
        f"!!python/object/apply:builtins.exec ['{CANARY} = 1']",
        laughs,
        "[" * 5000,
        "- " * 5000,
        "{a: " * 5000,
        "? " * 5000,
        "&a [*a]",
        "_BASE_: config.yaml",
        "_BASE_: http://127.0.0.1:9/x.yaml",
        "_BASE_: https://127.0.0.1:9/x.yaml",
        "_BASE_: /dev/zero",
        "_BASE_: .",
        "_BASE_: ../outside",
        "x: 1" + "0" * 10_000,
        "x: 0x" + "f" * 100_000,
        "x: 2001-99-99",
        "x: 1e999999999",
        "name: farm\nclasses: ['../../x', 'b']\nsplits: {train: {images: /dev, labels: /dev}}",
        "name: ../../x\nclasses: [a, b]\nsplits: {train: {images: images, labels: labels}}",
        "name: farm\nclasses: [a, b]\nsplits: {../x: {images: images, labels: labels}}",
        f"OUTPUT_DIR: {victim}",
        f"OUTPUT_DIR: {victim}/x",
        "MODEL: {WEIGHTS: http://127.0.0.1:9/x.pth}",
        "MODEL: {WEIGHTS: 'catalog://x'}",
        "MODEL: {ENCODERS: {CLIP: http://127.0.0.1:9/x.pt}}",
        "DATASETS: {OWN: [/dev/zero]}",
        "MODEL: {META_ARCHITECTURE: os.system}",
    ]


def _own_yaml(material: Material, folder: Path, victim: Path, rng: random.Random) -> Call:
    own_dataset(folder)
    texts = _yaml_texts(victim)
    (folder / "own.yaml").write_text(rng.choice(texts))
    return material.check("own.yaml", "report.json")


def _config(material: Material, folder: Path, victim: Path, rng: random.Random) -> Call:
    text = rng.choice(_yaml_texts(victim))
    (folder / "config.yaml").write_text(text)
    return material.train_from("config.yaml", *([] if "OUTPUT_DIR" in text else ["OUTPUT_DIR", "out"]))


# Archives.


def _archive(material: Material, folder: Path, victim: Path, rng: random.Random) -> Call:
    makers = (_traversal, _link, _zip_bomb, _nested_zips, _lying_sizes, _twice)
    content = io.BytesIO()
    with (
        zipfile.ZipFile(material.download) as whole,
        zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for info in whole.infolist():
            archive.writestr(info.filename, whole.read(info))
        warnings.simplefilter("ignore")  # of a name that comes twice
        rng.choice(makers)(archive, victim, rng)
    (folder / "UDD.zip").write_bytes(content.getvalue())
    return material.prepare("out", "UDD.zip")


def _traversal(archive: zipfile.ZipFile, victim: Path, rng: random.Random) -> None:
    names = (
        "../outside/victim.txt",
        str(victim),
        "..\\outside\\victim.txt",
        "UDD/UDD5/train/src/../../../../../x.JPG",
        "C:\\x.JPG",
        "UDD/UDD5/train/src/..\\..\\x.JPG",
    )
    archive.writestr(rng.choice(names), CANARY)


def _link(archive: zipfile.ZipFile, victim: Path, _rng: random.Random) -> None:
    info = zipfile.ZipInfo("UDD/UDD5/train/src/link.JPG")
    info.external_attr = 0o120777 << 16
    archive.writestr(info, str(victim))


def _zip_bomb(archive: zipfile.ZipFile, _victim: Path, rng: random.Random) -> None:
    inner = io.BytesIO()
    with (
        zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as bomb,
        bomb.open("train/src/x.JPG", "w") as member,
    ):
        for _ in range(400):
            member.write(bytes(1 << 20))
    if rng.random() < 0.5:
        archive.writestr("UDD/UDD5/more.zip", inner.getvalue())
        archive.writestr("UDD/UDD5/train/gt/x.png", b"x")
        return
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w", zipfile.ZIP_DEFLATED) as bomb, bomb.open("bomb.zip", "w") as member:
        for _ in range(400):
            member.write(bytes(1 << 20))
    archive.writestr("UDD/UDD5/more.zip", outer.getvalue())


def _nested_zips(archive: zipfile.ZipFile, _victim: Path, rng: random.Random) -> None:
    content = b"x"
    for level in range(rng.choice((40, 1200))):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as outer:
            outer.writestr(f"{level}.zip", content)
        content = buffer.getvalue()
    archive.writestr("UDD/UDD5/deep.zip", content)


def _lying_sizes(archive: zipfile.ZipFile, _victim: Path, rng: random.Random) -> None:
    info = archive.infolist()[rng.randrange(len(archive.infolist()))]
    info.file_size = rng.choice((1, 2**31, 2**40))


def _twice(archive: zipfile.ZipFile, _victim: Path, rng: random.Random) -> None:
    names = [name for name in archive.namelist() if not name.endswith(".zip")]
    archive.writestr(rng.choice(names), b"another content")


# Images.


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png(side: int, rows: int) -> bytes:
    """Return a PNG that declares a side, and holds some rows of it."""
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes((side + 1) * rows), 9)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _image(material: Material, folder: Path, victim: Path, rng: random.Random) -> Call:
    band = (
        '<VRTDataset rasterXSize="9" rasterYSize="9"><VRTRasterBand dataType="Byte" band="1"{}'
        "</VRTRasterBand></VRTDataset>"
    )
    python = (
        ' subClass="VRTDerivedRasterBand"><PixelFunctionType>f</PixelFunctionType>'
        "<PixelFunctionLanguage>Python</PixelFunctionLanguage>"
        f'<PixelFunctionCode>import os\nos.system("echo {CANARY} > {victim}")</PixelFunctionCode>'
    )
    source = (
        '><SimpleSource><SourceFilename relativeToVRT="0">{}</SourceFilename><SourceBand>1</SourceBand>'
        "</SimpleSource>"
    )
    sizes = ((256, 60_000), (257, 60_000), (273, 8), (279, 9))
    choices = {
        "declared.png": _png(20_000, 10),
        "square.png": _png(2**31 - 1, 0),
        "cut.png": _png(15_000, 100),
        "python.vrt": band.format(python).encode(),
        "python.tif": band.format(python).encode(),
        "net.vrt": band.format(source.format("/vsicurl/http://127.0.0.1:9/x.tif")).encode(),
        "loop.vrt": band.format(source.format("loop.vrt")).encode(),
        "empty.png": b"",
        "text.png": b"GIF89a",
        "page.jpg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "bomb.tif": b"II*\0\x08\0\0\0"
        + struct.pack("<H", 4)
        + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sizes)
        + bytes(4),
        "loop.tif": b"II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 256, 4, 1, 9, 8),
    }
    name = rng.choice(list(choices))
    (folder / name).write_bytes(choices[name])
    return material.segment("out", [name])


# Vocabularies.


def _vocabulary(material: Material, folder: Path, _victim: Path, rng: random.Random) -> Call:
    choices = {
        "long.txt": b"a" * 5_000_000,
        "many.txt": b"".join(b"class %d\n" % i for i in range(200_000)),
        "deep.json": b"[" * 200_000,
        "number.json": b'["a", 1' + b"0" * 10_000 + b"]",
        "hidden.txt": "a\u202eb\n\x1b[31mc".encode(),
        "null.txt": b"building\0\nroad",
        "surrogate.json": b'["\\ud800", "b"]',
        "zeros.txt": bytes(100_000),
    }
    name = rng.choice([*choices, "pipe.txt", "folder.txt", "device.txt"])
    if name in choices:
        (folder / name).write_bytes(choices[name])
    elif name == "pipe.txt":
        os.mkfifo(folder / name)
    elif name == "device.txt":
        (folder / name).symlink_to("/dev/zero")
    else:
        (folder / name).mkdir()
    return material.segment("out", [str(material.images[0])], name)


CASES: dict[str, Case] = {
    "pickle": _pickle,
    "another pickle": _pickle,
    "third pickle": _pickle,
    "script": _script,
    "bomb": _bombs,
    "own yaml": _own_yaml,
    "configuration": _config,
    "archive": _archive,
    "image": _image,
    "vocabulary": _vocabulary,
}
"""Name -> how the files are made. Pickles are the most frequent."""
