"""Graph files: round trips, stable bytes, and no file, however broken, that ends in anything but a ModelError."""

from __future__ import annotations

import errno
import io
import subprocess
import sys
import time
import tracemalloc
import zipfile
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_ir_examples import chain_graph, example_graph

from edgecompress.errors import EdgecompressError, ModelError
from edgecompress.ir import serialize
from edgecompress.ir.graph import QuantizedGraph
from edgecompress.ir.ops import OPS


@pytest.mark.parametrize("kind", OPS)
def test_round_trip(kind: str, tmp_path: Path) -> None:
    graph = example_graph(kind)
    serialize.save(graph, tmp_path / "graph.json")
    again = serialize.load(tmp_path / "graph.json")
    assert again == graph
    assert again.hash == graph.hash
    assert again.metadata == {"classes": ["a", "b"]}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["graph.json", "graph.npz"]
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    serialize.save(again, tmp_path / "graph.json")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first


def test_files_and_hashes_are_the_same_in_another_process(tmp_path: Path) -> None:
    graph = chain_graph()
    serialize.save(graph, tmp_path / "here.json")
    program = ("import sys; from pathlib import Path; from test_ir_examples import chain_graph; from edgecompress.ir import serialize\n"
               "serialize.save(chain_graph(), Path(sys.argv[1])); print(chain_graph().hash)")
    paths = [str(Path(__file__).parent), str(Path(serialize.__file__).parents[2])]
    for seed in ("1", "2"):
        command = [sys.executable, "-c", program, str(tmp_path / "there.json")]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60,
                              env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(paths)})
        assert done.stdout.strip() == graph.hash
        assert (tmp_path / "there.json").read_bytes() == (tmp_path / "here.json").read_bytes()
        assert (tmp_path / "there.npz").read_bytes() == (tmp_path / "here.npz").read_bytes()


def test_the_hash_sees_arithmetic_and_nothing_else() -> None:
    graph = chain_graph()
    assert replace(graph, metadata={"anything": 1}).hash == graph.hash
    assert replace(graph, tensors=dict(reversed(list(graph.tensors.items())))).hash == graph.hash
    other_scale = {**graph.tensors, "in": replace(graph.tensors["in"], scale=0.0501)}
    conv = graph.nodes[0].op
    weights = conv.weights.copy()  # type: ignore[attr-defined]
    weights[0, 0, 0, 0] += 1
    other_weights = (replace(graph.nodes[0], op=replace(conv, weights=weights)), *graph.nodes[1:])
    hashes = {graph.hash, replace(graph, tensors=other_scale).hash, replace(graph, nodes=other_weights).hash, replace(graph, name="other").hash}
    assert len(hashes) == 4


def test_suffix_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"must end in \.json"):
        serialize.save(chain_graph(), tmp_path / "graph.npz")
    with pytest.raises(ModelError, match=r"must end in \.json"):
        serialize.load(tmp_path / "graph")
    with pytest.raises(ModelError, match=r"no file '.*graph\.json'"):
        serialize.load(tmp_path / "graph.json")
    serialize.save(chain_graph(), tmp_path / "graph.json")
    (tmp_path / "graph.npz").unlink()
    with pytest.raises(ModelError, match=r"no file '.*graph\.npz'"):
        serialize.load(tmp_path / "graph.json")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(ModelError, match="cannot be read"):
        serialize.load(tmp_path / "folder.json")


def test_metadata_must_be_json(tmp_path: Path) -> None:
    for metadata in ({"a": np.float32(1)}, {"a": float("nan")}, {"a": {1, 2}}, {("a",): 1}):
        with pytest.raises(ModelError, match="plain JSON"):
            serialize.save(replace(chain_graph(), metadata=metadata), tmp_path / "graph.json")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_a_sentence_and_leaves_the_old_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "graph.json"
    serialize.save(chain_graph(), path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(serialize.os, "fsync", full)
    with pytest.raises(EdgecompressError, match=r"cannot be written to .*No space left on device"):
        serialize.save(example_graph("add"), path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    with pytest.raises(EdgecompressError, match="cannot be written"):
        serialize.save(chain_graph(), tmp_path / "absent" / "graph.json")


def test_a_pair_of_two_graphs_is_noticed(tmp_path: Path) -> None:
    graph = chain_graph()
    conv = graph.nodes[0].op
    other = replace(graph, nodes=(replace(graph.nodes[0], op=replace(conv, bias=conv.bias + 1)), *graph.nodes[1:]))  # type: ignore[attr-defined]
    serialize.save(graph, tmp_path / "a.json")
    serialize.save(other, tmp_path / "b.json")
    (tmp_path / "b.npz").replace(tmp_path / "a.npz")
    with pytest.raises(ModelError, match="hash does not fit"):
        serialize.load(tmp_path / "a.json")


def test_another_version_is_named() -> None:
    document, arrays = serialize.to_document(chain_graph())
    for version in (2, "1", None, 1e999, [1] * 1000):
        with pytest.raises(ModelError, match=r"format version .* this program reads 1"):
            serialize.from_document({**document, "version": version}, arrays)
    for wrong in ({}, [], None, 3, {"format": "onnx"}):
        with pytest.raises(ModelError, match="header"):
            serialize.from_document(wrong, arrays)


def load_or_refuse(folder: Path, document: bytes, arrays: bytes) -> bool:
    """Whether the two files load; anything but a graph or a ModelError is a failure."""
    (folder / "g.json").write_bytes(document)
    (folder / "g.npz").write_bytes(arrays)
    started = time.monotonic()
    try:
        assert isinstance(serialize.load(folder / "g.json"), QuantizedGraph)
        loaded = True
    except ModelError as error:
        assert 10 < len(str(error)) < 2000, "an error should be readable"
        loaded = False
    assert time.monotonic() - started < 10
    return loaded


def flip(rng: np.random.Generator, content: bytes) -> bytes:
    """One of: bytes changed, a piece cut out, doubled, truncated, or replaced by zeros."""
    data = bytearray(content)
    start, length = int(rng.integers(len(data))), int(rng.integers(1, 20))
    match int(rng.integers(6)):
        case 0:
            data[start] ^= 1 << int(rng.integers(8))
        case 1:
            data[start : start + length] = rng.integers(0, 256, length).astype(np.uint8).tobytes()
        case 2:
            del data[start : start + length]
        case 3:
            data[start:start] = data[start : start + length * 10]
        case 4:
            del data[start:]
        case _:
            data[start : start + length] = bytes(length)
    return bytes(data)


def test_mutated_bytes_end_in_model_errors(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    serialize.save(chain_graph(), tmp_path / "g.json")
    document, arrays = (tmp_path / "g.json").read_bytes(), (tmp_path / "g.npz").read_bytes()
    assert load_or_refuse(tmp_path, document, arrays)
    survived = 0
    for _ in range(400):
        survived += load_or_refuse(tmp_path, flip(rng, document), arrays)
        survived += load_or_refuse(tmp_path, document, flip(rng, arrays))
    assert survived < 250  # changes in metadata, in zip dates and in white space do no harm


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to every value inside a document."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 2**31, -(2**63), 10**400, 1.5, -0.0, float("nan"), float("inf"), 5e-324,
    "", "in", "\x00\ud800", "x" * 5000, [], {}, [[]], [1, 2, 3], [0, 0], [1] * 4, [2**40] * 4, [10**9] * 3, ["a"], [None],
    {"array": "0.weights"}, {"array": "missing"}, {"array": 3}, {"requant": [[1], [1]]}, {"requant": [[2**30], [1], [2]]}, {"requant": 5},
    {"requant": [["a"], ["b"]]}, {"array": "0.bias", "requant": [[0], [0]]},
)


def test_every_value_of_a_document_replaced_by_hostile_ones() -> None:
    document, arrays = serialize.to_document(chain_graph())
    tried = refused = 0
    for path in list(places(document)):
        if not path or "metadata" in path:
            continue
        inside = document
        for key in path[:-1]:
            inside = inside[key]
        original = inside[path[-1]]
        for hostile in HOSTILE:
            inside[path[-1]] = hostile
            refused += refuses(document, arrays)
            tried += 1
        inside[path[-1]] = original
    assert not refuses(document, arrays)
    assert tried > 5000 and refused > tried * 0.75


def refuses(document: Any, arrays: dict[str, np.ndarray]) -> bool:
    """Whether the document is refused. What is accepted must be whole: it can be hashed, written down again, and counted."""
    try:
        graph = serialize.from_document(document, arrays)
    except ModelError as error:
        assert 10 < len(str(error)) < 6000
        return True
    assert len(graph.hash) == 64
    assert graph.total_macs >= 0 and graph.weight_bytes >= 0
    return False


def test_missing_and_additional_keys() -> None:
    document, arrays = serialize.to_document(chain_graph())
    optional = 0
    for path in list(places(document)):
        if not path or "metadata" in path:
            continue
        changed = deepcopy(document)
        inside = changed
        for key in path[:-1]:
            inside = inside[key]
        del inside[path[-1]]
        optional += not refuses(changed, arrays)
    assert optional < 60  # fields with defaults
    changed = deepcopy(document)
    changed["nodes"][0]["attributes"]["strides"] = [1, 1]
    with pytest.raises(ModelError, match="unknown attributes; allowed: weights, bias"):
        serialize.from_document(changed, arrays)


def test_structures_that_make_no_sense() -> None:
    document, arrays = serialize.to_document(chain_graph())

    def with_changes(change: Any) -> dict[str, Any]:
        changed = deepcopy(document)
        change(changed)
        return changed

    cases = {
        "two tensors": lambda d: d["tensors"].append(d["tensors"][0]),
        "two nodes": lambda d: d["nodes"].append(d["nodes"][0]),
        "before anything writes it": lambda d: d["nodes"][0].update(inputs=[d["outputs"][0]]),
        "unknown op 'eval'": lambda d: d["nodes"][0].update(op="eval"),
        "expected a text": lambda d: d["nodes"][0].update(op=["conv2d"]),
        "must be a list": lambda d: d.update(tensors={"a": 1}),
        "'metadata' must be a table": lambda d: d.update(metadata=[1]),
    }
    for words, change in cases.items():
        with pytest.raises(ModelError, match=words):
            serialize.from_document(with_changes(change), arrays)


@pytest.mark.parametrize("array", [np.zeros((4, 3, 2, 2)), np.zeros((4, 3, 2, 2), dtype=bool), np.zeros((4, 3, 2, 2), dtype=np.uint8),
                                   np.array(["a"]), np.zeros(3, dtype="i4,i4"), np.zeros((2, 3), dtype=np.int32, order="F"),
                                   np.zeros(3, dtype=">i4"), np.zeros((0,), dtype=np.int8), np.int8(3), np.full((4, 3, 2, 2), 300, dtype=np.int32)])
def test_arrays_of_the_wrong_kind(array: np.ndarray, tmp_path: Path) -> None:
    serialize.save(chain_graph(), tmp_path / "g.json")
    arrays = dict(np.load(tmp_path / "g.npz"))
    np.savez(tmp_path / "g.npz", **{**arrays, "0.weights": array})
    assert not load_or_refuse(tmp_path, (tmp_path / "g.json").read_bytes(), (tmp_path / "g.npz").read_bytes())


def npz(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip file of raw members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def npy_header(text: str) -> bytes:
    """A version 1.0 .npy start with any header text."""
    padded = text.encode() + b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded


def bombs() -> dict[str, bytes]:
    """Archives that would unpack to much more than they are, claim to, or lie about it."""
    large = npz({"0.weights.npy": bytes(33 * 1024**2)})
    small = npz({"0.weights.npy": bytes(16 * 1024**2)})
    size = (16 * 1024**2).to_bytes(4, "little")
    pickled = io.BytesIO()
    np.save(pickled, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return {
        "unpacks to more": large,
        "says it is small": small.replace(size, (100).to_bytes(4, "little")),
        "huge shape": npz({"0.weights.npy": npy_header("{'descr': '|i1', 'fortran_order': False, 'shape': (1000000000000,), }") + b"1234"}),
        "shape that overflows": npz({"0.weights.npy": npy_header("{'descr': '|i1', 'fortran_order': False, 'shape': (2**62, 4), }")}),
        "negative shape": npz({"0.weights.npy": npy_header("{'descr': '|i1', 'fortran_order': False, 'shape': (-1, -4), }") + b"1234"}),
        "code in the header": npz({"0.weights.npy": npy_header("__import__('os').system('exit 3')")}),
        "deep header": npz({"0.weights.npy": npy_header("(" * 5000)}),
        "another npy version": npz({"0.weights.npy": b"\x93NUMPY\x02\x00" + bytes(200)}),
        "pickle": npz({"0.weights.npy": pickled.getvalue()}),
        "not an array": npz({"0.weights.npy": b"hello"}),
        "bzip2": npz({"0.weights.npy": bytes(10**6)}, zipfile.ZIP_BZIP2),
        "lzma": npz({"0.weights.npy": bytes(10**6)}, zipfile.ZIP_LZMA),
        "no zip": b"PK\x03\x04 and then nothing",
        "empty": b"",
        "shape of words": npz({"0.weights.npy": npy_header("{'descr': '|i1', 'fortran_order': False, 'shape': (1 2,), }") + b"12"}),
        "no members": npz({}),
        "many members": npz({f"{index}.npy": b"" for index in range(5000)}),
    }


def test_bombs_cost_neither_time_nor_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serialize, "MAX_ARRAY_BYTES", 32 * 1024**2)
    serialize.save(chain_graph(), tmp_path / "g.json")
    document = (tmp_path / "g.json").read_bytes()
    for name, content in bombs().items():
        tracemalloc.start()
        assert not load_or_refuse(tmp_path, document, content), name
        assert tracemalloc.get_traced_memory()[1] < 16 * 1024**2, name
        tracemalloc.stop()


HARD_DOCUMENTS = {
    "empty": b"", "null": b"null", "nested lists": b"[" * 100_000, "nested tables": b'{"a":' * 100_000, "no text": b"\xff\xfe", "infinity": b"1e999",
    "many digits": b"[" + b"9" * 5000 + b"]", "cut off": b'{"format": "edgecompress-graph"',
    "bare": b'{"format": "edgecompress-graph", "version": 1}', "large": b" " * (16 * 1024**2 + 1),
}


@pytest.mark.parametrize("document", HARD_DOCUMENTS.values(), ids=HARD_DOCUMENTS)
def test_documents_that_are_hard_on_the_parser(document: bytes, tmp_path: Path) -> None:
    serialize.save(chain_graph(), tmp_path / "g.json")
    assert not load_or_refuse(tmp_path, document, (tmp_path / "g.npz").read_bytes())
