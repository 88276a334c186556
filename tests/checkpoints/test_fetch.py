"""What `fetch` leaves under the final name is complete and fits; everything else says what to do."""

import fcntl
import hashlib
import os
import random
import socket

import httpx2
import huggingface_hub
import huggingface_hub.constants
import pytest

from rskt_seg.checkpoints.fetch import ABSENT, UNKNOWN, VERIFIED, WRONG, fetch, sha256_of, verify
from rskt_seg.checkpoints.manifest import Weights
from rskt_seg.errors import CheckpointError, WeightsNotFoundError

CONTENT = random.Random(0).randbytes(300_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
PAGE = "https://example.org/page"


def row(server=None, **fields):
    """A row for `CONTENT` at `server`, with the digest known unless said otherwise."""
    if server is not None:
        server.files.setdefault("/w.pt", CONTENT)
        fields.setdefault("url", f"{server.url}/w.pt")
    fields.setdefault("sha256", DIGEST)
    unknown = {key: f"no {key} published" for key in ("sha256", "size") if fields.get(key) is None}
    return Weights("w", "clip", "w.pt", PAGE, "a test", licence="MIT", unknown=unknown, **fields)


def test_a_download_arrives_whole_and_leaves_nothing_else(server, tmp_path):
    found = fetch(row(server), tmp_path / "new" / "folder")
    assert (found.state, found.digest) == (VERIFIED, DIGEST)
    assert found.path.read_bytes() == CONTENT
    assert os.listdir(found.path.parent) == ["w.pt"]


@pytest.mark.parametrize("known", [DIGEST, DIGEST[:8], None])
def test_a_file_that_is_there_is_kept_without_any_request(server, tmp_path, known):
    (tmp_path / "w.pt").write_bytes(CONTENT)
    found = fetch(row(server, sha256=known), tmp_path)
    assert found.state == (VERIFIED if known else UNKNOWN) and found.digest == DIGEST
    assert server.asked == []


def test_a_wrong_file_that_is_there_is_left_alone_and_nothing_is_requested(server, tmp_path):
    (tmp_path / "w.pt").write_bytes(b"other")
    digest = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(CheckpointError, match=f"expected sha256 {DIGEST}, found {digest}.*move it away"):
        fetch(row(server), tmp_path)
    assert (tmp_path / "w.pt").read_bytes() == b"other" and server.asked == []


@pytest.mark.parametrize("known", ["0" * 64, DIGEST[:-1] + "x", DIGEST[:7] + "x"])
def test_a_wrong_download_never_takes_the_name_and_is_kept_aside(server, tmp_path, known):
    with pytest.raises(
        CheckpointError, match=rf"expected sha256 {known}, found {DIGEST}.*w\.pt\.wrong.*{PAGE}"
    ):
        fetch(row(server, sha256=known), tmp_path)
    assert os.listdir(tmp_path) == ["w.pt.wrong"]
    assert (tmp_path / "w.pt.wrong").read_bytes() == CONTENT


def test_a_published_beginning_of_a_digest_is_enough_and_said_to_be_no_more(server, tmp_path):
    found = fetch(row(server, sha256=DIGEST[:8]), tmp_path)
    assert found.state == VERIFIED and f"as far as published ({DIGEST[:8]}" in found.text


def test_without_a_known_digest_the_found_one_is_reported_with_the_reason(server, tmp_path):
    found = fetch(row(server, sha256=None), tmp_path)
    assert found.state == UNKNOWN
    assert DIGEST in found.text and "no sha256 published" in found.text


def test_a_known_size_is_compared(tmp_path):
    (tmp_path / "w.pt").write_bytes(CONTENT)
    assert verify(row(size=len(CONTENT)), tmp_path / "w.pt").state == VERIFIED
    found = verify(row(size=7), tmp_path / "w.pt")
    assert (found.state, found.text) == (WRONG, "expected 7 bytes, found 300000")


def test_a_web_page_is_not_taken_for_weights(server, tmp_path):
    server.files["/w.pt"] = b"\n<!DOCTYPE html><html>Quota exceeded</html>"
    with pytest.raises(CheckpointError, match="a saved web page, not a weight file"):
        fetch(row(server, sha256=None), tmp_path)
    assert os.listdir(tmp_path) == ["w.pt.wrong"]


def test_a_dead_link_names_the_page_and_the_path_for_a_file_by_hand(server, tmp_path):
    dead = row(server, instead="use another")
    del server.files["/w.pt"]
    with pytest.raises(WeightsNotFoundError) as caught:
        fetch(dead, tmp_path)
    text = str(caught.value)
    assert "\n" not in text and "HF_ENDPOINT" not in text
    for part in (f"{server.url}/w.pt", "HTTP status 404", PAGE, str(tmp_path / "w.pt"), "use another"):
        assert part in text
    assert os.listdir(tmp_path) == []


def test_no_connection_says_what_a_dead_link_says(server, tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/w.pt"
        with pytest.raises(WeightsNotFoundError, match=rf"refused\).*{PAGE}.*{tmp_path / 'w.pt'}"):
            fetch(row(url=url), tmp_path)


def test_weights_without_an_address_are_explained_until_they_are_there(tmp_path):
    manual = row(by_hand="press the button", sha256=None)
    with pytest.raises(WeightsNotFoundError, match=rf"{PAGE} and press the button.*{tmp_path / 'w.pt'}"):
        fetch(manual, tmp_path)
    (tmp_path / "w.pt").write_bytes(CONTENT)
    assert fetch(manual, tmp_path).state == UNKNOWN


@pytest.mark.parametrize("known", [DIGEST, None])
def test_a_transfer_that_breaks_off_goes_on_where_it_stopped(server, tmp_path, known):
    server.cuts["/w.pt"] = [120_000, 50_000]
    found = fetch(row(server, sha256=known), tmp_path)
    assert found.path.read_bytes() == CONTENT
    assert server.gets() == [0, 120_000, 170_000]


@pytest.mark.parametrize(("known", "resumed"), [(DIGEST, True), (DIGEST[:8], True), (None, False)])
def test_the_next_call_resumes_only_where_a_digest_will_judge_the_result(server, tmp_path, known, resumed):
    server.cuts["/w.pt"] = [100_000] + [0] * 20
    with pytest.raises(WeightsNotFoundError, match="could not be downloaded"):
        fetch(row(server, sha256=known), tmp_path)
    assert os.listdir(tmp_path) == ["w.pt.part"]
    server.cuts.clear()
    server.asked.clear()
    assert fetch(row(server, sha256=known), tmp_path).path.read_bytes() == CONTENT
    assert server.gets() == [100_000 if resumed else 0]


@pytest.mark.parametrize("length", [0, 1, 299_999, 300_000, 300_001])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_part_of_any_length_is_completed(server, tmp_path, length, ranges):
    server.ranges = ranges
    (tmp_path / "w.pt.part").write_bytes((CONTENT + b"more")[:length])
    assert fetch(row(server), tmp_path).path.read_bytes() == CONTENT
    assert os.listdir(tmp_path) == ["w.pt"]
    assert server.gets() == ([] if length == 300_000 else [length % 300_001])


def test_a_part_of_another_file_is_found_out_and_the_next_call_starts_over(server, tmp_path):
    (tmp_path / "w.pt.part").write_bytes(b"x" * 1000)
    with pytest.raises(CheckpointError, match="Fetch again"):
        fetch(row(server), tmp_path)
    assert fetch(row(server), tmp_path).state == VERIFIED


def test_two_processes_do_not_write_one_file(server, tmp_path):
    with open(tmp_path / "w.pt.part", "wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(CheckpointError, match="another process"):
            fetch(row(server), tmp_path)
    assert server.gets() == []


def hub_row(server, stated, **fields):
    path = "/group/name/resolve/main/w.pt"
    server.files[path] = CONTENT
    server.headers[path] = {"ETag": '"x"', "X-Linked-Etag": f'"{stated}"', "X-Repo-Commit": "0" * 40}
    return row(hub="group/name", sha256=None, **fields)


def test_a_file_of_the_hub_is_held_to_the_digest_that_the_hub_states(server, tmp_path):
    found = fetch(hub_row(server, DIGEST), tmp_path)
    assert found.state == UNKNOWN and f"{DIGEST}, as the hub states" in found.text
    with pytest.raises(CheckpointError, match="expected sha256 1111"):
        fetch(hub_row(server, "1" * 64), tmp_path / "other")
    assert not (tmp_path / "other" / "w.pt").exists()


def test_a_hub_that_cannot_be_reached_points_to_mirrors(server, tmp_path):
    gone = hub_row(server, DIGEST)
    server.files.clear()
    with pytest.raises(WeightsNotFoundError, match=r"group/name/resolve/main/w\.pt.*404.*HF_ENDPOINT"):
        fetch(gone, tmp_path)


def test_the_offline_switch_of_the_hub_is_obeyed_and_named(server, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsNotFoundError, match=r"HF_HUB_OFFLINE"):
        fetch(row(server), tmp_path)
    assert server.asked == []


def test_no_token_is_sent_to_anybody(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    fetch(row(server), tmp_path / "url")
    fetch(hub_row(server, DIGEST), tmp_path / "hub")
    assert len(server.sent) == 4
    assert not any("authorization" in headers or "hf_secret" in str(headers) for headers in server.sent)


def test_verifying_tells_the_four_states_apart_and_digests_are_those_of_hashlib(tmp_path):
    path = tmp_path / "w.pt"
    assert verify(row(), path).state == ABSENT
    path.write_bytes(CONTENT)
    assert sha256_of(path) == DIGEST
    assert verify(row(), path).state == VERIFIED
    assert verify(row(sha256=None), path).state == UNKNOWN
    assert verify(row(sha256="0" * 64), path).state == WRONG


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\nsize 7\n"])
def test_an_empty_file_and_a_pointer_that_are_there_are_wrong(server, tmp_path, content):
    (tmp_path / "w.pt").write_bytes(content)
    assert verify(row(sha256=None), tmp_path / "w.pt").state == WRONG
    with pytest.raises(CheckpointError, match=r"not a weight file.*move it away"):
        fetch(row(server, sha256=None), tmp_path)
    assert (tmp_path / "w.pt").read_bytes() == content and server.asked == []


@pytest.mark.parametrize("known", [DIGEST, None])
def test_an_answer_of_no_bytes_is_refused_and_leaves_nothing(server, tmp_path, known):
    server.files["/w.pt"] = b""
    with pytest.raises(CheckpointError, match=rf"answered with 0 bytes.*{PAGE}"):
        fetch(row(server, sha256=known), tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_transfer_that_brings_nothing_leaves_no_empty_part(server, tmp_path):
    server.cuts["/w.pt"] = [0] * 20
    with pytest.raises(WeightsNotFoundError, match="could not be downloaded"):
        fetch(row(server), tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.fixture
def web(monkeypatch):
    """A function that puts hosts in place of the net: address -> where it redirects to; None is the file.

    Of the addresses in `heads`, only GET redirects.
    """

    def put(hosts, heads=()):
        def answer(request):
            address = str(request.url)
            asked.append((request.method, address))
            target = hosts[address]
            if target is None or (request.method == "HEAD" and address in heads):
                return httpx2.Response(200, content=CONTENT)
            return httpx2.Response(302, headers={"Location": target})

        client = httpx2.Client(transport=httpx2.MockTransport(answer), follow_redirects=True)
        monkeypatch.setattr("huggingface_hub.utils._http._GLOBAL_CLIENT", client)
        return asked

    asked = []
    return put


A, B, C, D = (f"https://{name}.example.org/w.pt" for name in "abcd")
PLAIN = "http://plain.example.org/w.pt"
CHAINS = {
    "first": {A: PLAIN, PLAIN: None},
    "second": {A: B, B: PLAIN, PLAIN: None},
    "fourth": {A: B, B: C, C: D, D: PLAIN, PLAIN: None},
    "in between": {A: B, B: PLAIN, PLAIN: C, C: None},
    "in capital letters": {A: "HTTP://plain.example.org/w.pt", PLAIN: None},
}


@pytest.mark.parametrize("heads", [(), (A, B, C)])
@pytest.mark.parametrize("chain", CHAINS)
def test_a_redirect_from_https_to_plain_http_is_refused_at_any_hop(chain, heads, web, tmp_path):
    hosts = dict(CHAINS[chain])
    asked = web(hosts, heads)
    with pytest.raises(CheckpointError, match=rf"(?i){A} redirects.* to {PLAIN}, .*expected https.*{PAGE}"):
        fetch(row(url=A), tmp_path)
    assert PLAIN not in [address for _, address in asked] and os.listdir(tmp_path) == []
    hosts |= {
        address: target and target.lower().replace("http:", "https:") for address, target in hosts.items()
    }
    hosts |= {PLAIN.replace("http:", "https:"): hosts[PLAIN]}
    assert fetch(row(url=A), tmp_path).state == VERIFIED


def test_a_redirect_that_the_first_answer_shows_is_refused_before_anything_is_written(web, tmp_path):
    web(CHAINS["first"])
    with pytest.raises(CheckpointError, match="expected https"):
        fetch(row(url=A), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_redirect_to_a_path_of_the_same_host_stays_encrypted_and_plain_addresses_are_asked_as_they_are(
    web, tmp_path
):
    other = A.replace("w.pt", "moved/w.pt")
    web({A: "/moved/w.pt", other: None, PLAIN: B, B: None})
    assert fetch(row(url=A), tmp_path / "a").state == VERIFIED
    assert fetch(row(url=PLAIN), tmp_path / "b").state == VERIFIED


def test_the_shared_client_is_left_as_it_was(web, tmp_path):
    web(CHAINS["second"])
    client = huggingface_hub.get_session()
    before = {kind: list(hooks) for kind, hooks in client.event_hooks.items()}
    with pytest.raises(CheckpointError):
        fetch(row(url=A), tmp_path)
    assert client.event_hooks == before
