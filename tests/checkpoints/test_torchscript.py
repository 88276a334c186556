"""TorchScript archives give their tensors and are never executed, whichever way they come in."""

import ast
import pickle
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rskt_seg
from rskt_seg.checkpoints.files import read_weights
from rskt_seg.errors import CheckpointError

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from campaign.script import hostile_module

PACKAGE = Path(rskt_seg.__file__).parent
STATE = {
    "a": torch.arange(3.0),
    "b.c": torch.ones(2, 2).half(),
    "b.turned": torch.arange(6).view(2, 3).T,
    "steps": torch.tensor(5),
    "empty": torch.empty(0, 4),
    "flags": torch.tensor([True, False]),
    "brain": torch.tensor([1.5], dtype=torch.bfloat16),
}


class Node(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.numbers = [1, 2]
        self.words = "text"

    def forward(self, x):
        return x


def archive(path, state):
    root = Node()
    root.b = Node()
    for name, tensor in state.items():
        *parent, leaf = name.split(".")
        (root.b if parent else root).register_buffer(leaf, tensor)
    torch.jit.script(root).save(str(path))
    return path


def members(path):
    with zipfile.ZipFile(path) as file:
        return {info.filename: file.read(info) for info in file.infolist()}


def rewritten(path, changes, compression=zipfile.ZIP_STORED):
    content = members(path) | changes
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in content.items():
            file.writestr(name, data)
    return path


def test_tensors_come_as_torch_itself_loads_them(tmp_path):
    path = archive(tmp_path / "w.pt", STATE)
    expected, found = torch.jit.load(path).state_dict(), read_weights(path).state
    assert found.keys() == expected.keys() == STATE.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


@pytest.fixture
def evil(tmp_path):
    """An archive that overwrites a file when it is loaded: `__setstate__` runs then."""
    victim = tmp_path / "victim.bin"
    victim.write_bytes(b"precious" * 4)
    path = tmp_path / "evil.pt"
    torch.jit.script(hostile_module(str(victim))).save(str(path))
    victim.write_bytes(b"precious" * 4)
    return path, victim


def assert_refused(call, evil):
    path, victim = evil
    with pytest.raises(CheckpointError, match=r"evil\.pt") as error:
        call(path)
    assert "torch.jit.load(path).state_dict()" in str(error.value)
    assert victim.read_bytes() == b"precious" * 4


def test_the_evil_archive_of_these_tests_is_evil(evil):
    path, victim = evil
    with suppress(RuntimeError):
        torch.jit.load(path)
    assert victim.read_bytes() == bytes(32)


def test_no_way_in_executes_an_archive(evil, tmp_path):
    model = rskt_seg.create_model("rskt_tiny")
    assert_refused(read_weights, evil)
    assert_refused(lambda path: rskt_seg.load_checkpoint(model, path), evil)
    assert_refused(lambda path: rskt_seg.load_encoder(model, "clip", path), evil)


def test_the_checkpointer_of_a_training_does_not_execute_an_archive(evil, tmp_path):
    pytest.importorskip("detectron2")
    from rskt_seg.d2.checkpointer import AtomicCheckpointer

    path, victim = evil
    renamed = path.rename(tmp_path / "model_final.pth")
    with pytest.raises(CheckpointError, match=r"expected an archive as torch\.save writes it"):
        AtomicCheckpointer(torch.nn.Linear(1, 1), str(tmp_path)).load(str(renamed))
    assert victim.read_bytes() == b"precious" * 4


class Attack:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(Attack(open, "executed", "w")),
        pickle.dumps(Attack(eval, "open('executed', 'w')")),
        pickle.dumps(torch.zeros(1)),
        pickle.dumps([1]),
        b"",
        b"\x80\x02}r\xff\xff\xff\xff.",  # a memo index that asks for 64 GiB
        b"cos\nsystem\n(S'touch executed'\ntR.",
    ],
    ids=["open", "eval", "tensor alone", "list", "empty", "memo", "protocol 0"],
)
def test_forged_trees_are_refused(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    path = rewritten(archive(tmp_path / "w.pt", STATE), {"w/data.pkl": content})
    with pytest.raises(CheckpointError, match="without running its code"):
        read_weights(path)
    assert not (tmp_path / "executed").exists()


def test_storages_that_are_not_what_the_tree_states_are_refused(tmp_path):
    path = archive(tmp_path / "w.pt", STATE)
    key = next(name for name, data in members(path).items() if name.startswith("w/data/") and len(data) > 8)
    for name, changes, compression in (
        ("short", {key: b"1234"}, zipfile.ZIP_STORED),
        ("compressed", {}, zipfile.ZIP_DEFLATED),
    ):
        forged = rewritten(archive(tmp_path / "w.pt", STATE), changes, compression)
        with pytest.raises(CheckpointError, match=r"compressed or not of the size"):
            read_weights(forged), name


def test_a_changed_bit_is_found_by_the_checksum(tmp_path):
    path = archive(tmp_path / "w.pt", {"a": torch.arange(1000.0)})
    content = bytearray(path.read_bytes())
    at = content.index(torch.arange(1000.0).numpy().tobytes()) + 17
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="CRC"):
        read_weights(path)


def stream(*attributes, end=b""):
    """Return a tree of one module whose attributes are given as (name, pickled value)."""
    body = b"".join(b"X" + len(name).to_bytes(4, "little") + name + value for name, value in attributes)
    return b"\x80\x02c__torch__\nNode\n)\x81}(" + body + b"ub" + end + b"."


def number(value):
    return b"J" + value.to_bytes(4, "little", signed=True)


def stored(
    key=b"0", items=3, offset=0, size=(3,), stride=(1,), rebuild=b"ctorch._utils\n_rebuild_tensor_v2\n"
):
    """Return the pickled description of a float32 tensor."""
    key = b"X" + len(key).to_bytes(4, "little") + key
    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\n" + key + b"X\x03\0\0\0cpu" + number(items) + b"tQ"
    shape, steps = (b"(" + b"".join(map(number, numbers)) + b"t" for numbers in (size, stride))
    return rebuild + b"(" + storage + number(offset) + shape + steps + b"\x89ccollections\nOrderedDict\n)RtR"


def forged(tmp_path, content):
    return rewritten(archive(tmp_path / "w.pt", {"a": torch.arange(3.0)}), {"w/data.pkl": content})


def test_views_with_an_offset_and_shared_storages_become_tensors_of_their_own(tmp_path):
    content = stream(
        (b"a", stored()), (b"b", stored(offset=1, size=(2,))), (b"c", stored(size=(2,), stride=(2,)))
    )
    state = read_weights(forged(tmp_path, content)).state
    assert {name: tensor.tolist() for name, tensor in state.items()} == {
        "a": [0, 1, 2],
        "b": [1, 2],
        "c": [0, 2],
    }
    state["a"].zero_()
    assert state["b"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (stream((b"a", stored(offset=1))), "out of bounds"),
        (stream((b"a", stored(offset=-1, size=(1,)))), ""),
        (stream((b"a", stored(size=(3, 10**6), stride=(1, 0)))), "larger than its storage"),
        (stream((b"a", stored(size=(3,), stride=(1, 1)))), "described otherwise"),
        (stream((b"a", stored(key=b"../constants.pkl"))), "storage of an unknown kind"),
        (stream((b"a", stored(key=b"7"))), "w/data/7"),
        (stream((b"a", stored(items=10**6))), "size stated"),
        (stream((b"a", stored() + b"}b")), "changes a tensor"),
        (stream(*((b"%d" % index, stored()) for index in range(9))), "many times over"),
        (stream((b"a", stored(rebuild=b"ctorch\nload\n"))), "asks for torch.load"),
        (stream((b"a", stored(rebuild=b"cnumpy\nfromfile\n"))), "asks for numpy.fromfile"),
        (stream((b"a", b"ccollections\nUserDict\n")), "asks for collections.UserDict"),
        (stream((b"a", b")" + b"\x85" * 30_000)), "more than 20000 tuples"),
        (stream((b"a", stored()), (b"b", b"r\xff\xff\xff\xff")), "memo index"),
        (b"\x80\x02c__torch__\nNode\n)\x81q\0}X\x01\0\0\0ah\0sb.", "a module within itself"),
    ],
)
def test_every_way_in_which_a_tree_can_lie_is_refused_by_its_reason(tmp_path, content, message):
    with pytest.raises(CheckpointError, match="without running its code") as error:
        read_weights(forged(tmp_path, content))
    assert message in str(error.value) and "\n" not in str(error.value)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_trees_are_read_or_refused(tmp_path, data):
    path = archive(tmp_path / "w.pt", {"a": torch.arange(3.0), "b.c": torch.ones(2)})
    content = bytearray(members(path)["w/data.pkl"])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    rewritten(path, {"w/data.pkl": bytes(content)})
    try:
        state = read_weights(path).state
    except CheckpointError:
        return
    assert all(isinstance(tensor, torch.Tensor) for tensor in state.values())


def test_the_package_has_no_call_that_executes_a_file():
    forbidden = {
        "torch.jit.load",
        "pickle.load",
        "pickle.loads",
        "eval",
        "exec",
        "yaml.load",
        "yaml.unsafe_load",
    }
    found = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name, keywords = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
            unsafe = name == "torch.load" and keywords.get("weights_only") != "True"
            # A loader of YAML that is handed over must be a safe one: see rskt_seg/data/own.py.
            unsafe |= name in forbidden and [ast.unparse(a) for a in node.args[1:]] != ["_UniqueKeys"]
            if unsafe or (name.endswith("np.load") and keywords.get("allow_pickle") != "False"):
                found.append(f"{path.relative_to(PACKAGE)}: {name}")
    assert found == []
