"""Data that cannot be used: one clear sentence each, and never another exception than EdgecompressError."""

from __future__ import annotations

import gzip
import io
import wave
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgecompress.data import raw
from edgecompress.data.dataset import load_dataset
from edgecompress.errors import ConfigError, DataError, EdgecompressError


def arrays(**changes: Any) -> dict[str, Any]:
    generator = np.random.default_rng(7)
    base: dict[str, Any] = {
        "x_train": generator.normal(size=(40, 4, 3)).astype(np.float32), "y_train": np.arange(40) % 4,
        "x_test": generator.normal(size=(12, 4, 3)).astype(np.float32), "y_test": np.arange(12) % 4,
    }
    base.update(changes)
    return {key: value for key, value in base.items() if value is not None}


def npz_bytes(compress: bool = True, **changes: Any) -> bytes:
    stream = io.BytesIO()
    (np.savez_compressed if compress else np.savez)(stream, **arrays(**changes))
    return stream.getvalue()


def with_value(value: float) -> Any:
    x = arrays()["x_train"].copy()
    x[5, 2, 1] = x[7, 0, 0] = value
    return x


def labels(*changes: tuple[int, Any], dtype: Any = np.int64, count: int = 40) -> Any:
    y = (np.arange(count) % 4).astype(dtype)
    for index, value in changes:
        y[index] = value
    return y


BAD_ARRAYS: dict[str, tuple[dict[str, Any], str]] = {
    "nan": ({"x_train": with_value(np.nan)}, r"'x_train' of '.*' holds 2 values that are NaN or infinite, the first at index \(5, 2, 1, 0\)"),
    "infinity": ({"x_train": with_value(np.inf)}, "NaN or infinite"),
    "nan in the test part": ({"x_test": np.full((12, 4, 3), np.nan, np.float32)}, "'x_test' of .* holds 144 values"),
    "huge values": ({"x_train": with_value(1e25)}, r"beyond ±1e\+18"),
    "huge negative values": ({"x_train": with_value(-1e25)}, r"beyond ±1e\+18"),
    "constant": ({"x_train": np.ones((40, 4, 3))}, "all values of the train part .* are 1"),
    "complex": ({"x_train": np.ones((40, 4, 3), np.complex64)}, "has the dtype complex64"),
    "text samples": ({"x_train": np.full((40, 4, 3), "a")}, "samples must be integers or floats"),
    "dates": ({"x_train": np.zeros((40, 4, 3), "datetime64[s]")}, "has the dtype datetime64"),
    "records": ({"x_train": np.zeros(40, [("a", "i4"), ("b", "f4")])}, "integers, floats, booleans and text are read"),
    "objects": ({"x_train": np.array([{}] * 40, dtype=object)}, "pickled object array"),
    "one axis": ({"x_train": np.zeros(40)}, r"has shape \(40,\)"),
    "no axis": ({"x_train": np.array(3.0)}, r"has shape \(\)"),
    "five axes": ({"x_train": np.zeros((40, 1, 1, 1, 1))}, "has shape"),
    "empty samples": ({"x_train": np.zeros((40, 0, 3)), "x_test": np.zeros((12, 0, 3))}, "hold no values"),
    "empty part": ({"x_test": np.zeros((0, 4, 3)), "y_test": np.zeros(0, int)}, "'x_test' of '.*' is empty"),
    "shapes differ": ({"x_test": np.zeros((12, 4, 4), np.float32)}, r"differ in shape: \(4, 3, 1\) in train, \(4, 4, 1\) in test"),
    "dtypes differ": ({"x_test": np.zeros((12, 4, 3), np.uint8)}, "differ in kind: float32 in train, uint8 in test"),
    "too few labels": ({"y_train": labels(count=39)}, "'x_train' of '.*' has 40 samples but 'y_train' has 39 labels"),
    "float labels": ({"y_train": labels(dtype=np.float32)}, "has the dtype float32; labels must be integers"),
    "text labels": ({"y_train": labels().astype(str)}, "labels must be integers"),
    "one-hot labels": ({"y_train": np.eye(4, dtype=int)[labels()]}, r"numpy.argmax\(labels, axis=1\)"),
    "scalar label": ({"y_train": np.array(1)}, r"has shape \(\); labels are one integer a sample"),
    "negative label": ({"y_train": labels((6, -1))}, "holds the label -1 at index 6"),
    "huge label": ({"y_train": labels((6, 2**40))}, "holds the label 1099511627776 at index 6"),
    "huge unsigned label": ({"y_train": labels((6, 2**64 - 1), dtype=np.uint64)}, "holds the label 18446744073709551615"),
    "single class": ({"y_train": labels() * 0, "y_test": labels(count=12) * 0}, "has 1 class in its train part"),
    "class only in test": ({"y_test": labels((0, 9), count=12)}, "class '9' has 1 sample in the test part .* none in the train part"),
    "lonely class": ({"y_train": labels((0, 7))}, "class '7' of '.*' has 1 sample; at least 2 are needed"),
    "too few names": ({"classes": np.array(["a", "b", "c"])}, "reach 3, but only 3 class names"),
    "double names": ({"classes": np.array(["a", "b", "b", "c"])}, "repeated name"),
    "empty name": ({"classes": np.array(["a", "", "b", "c"])}, "empty or a repeated name"),
    "numbers as names": ({"classes": np.arange(4)}, "must be a one-dimensional array of text"),
    "names not utf-8": ({"classes": np.array([b"a", b"\xff\xfe", b"b", b"c"])}, "not valid text"),
    "missing keys": ({"y_test": None, "x_test": None}, "lacks 'x_test', 'y_test'; it has 'x_train', 'y_train'"),
    "validation without labels": ({"x_val": np.zeros((4, 4, 3), np.float32)}, "lacks 'y_val'"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_arrays(tmp_path: Path, case: str) -> None:
    changes, message = BAD_ARRAYS[case]
    path = tmp_path / "bad.npz"
    path.write_bytes(npz_bytes(**changes))
    with pytest.raises(DataError, match=message) as caught:
        load_dataset(str(path))
    assert "\n" not in caught.value.message and "bad.npz" in str(caught.value)


def test_too_many_classes(tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    path.write_bytes(npz_bytes(x_train=np.random.default_rng(0).normal(size=(1500, 2)), y_train=np.arange(1500), x_test=np.zeros((1, 2)), y_test=[0]))
    with pytest.raises(DataError, match="has 1500 classes"):
        load_dataset(str(path))


QUERIES: dict[str, tuple[str, type[EdgecompressError], str]] = {
    "unknown option": ("?splt=a", ConfigError, "unknown data set option 'splt'. Did you mean 'split'"),
    "only x": ("?x=x_train", ConfigError, "belong together"),
    "only split": ("?split=y_train", ConfigError, "belong together"),
    "absent key": ("?x=images&y=y_train", DataError, "has no array 'images'; it has 'x_test', 'x_train', 'y_test', 'y_train'"),
    "absent classes": ("?classes=names", DataError, "has no array 'names'"),
    "split of another length": ("?x=x_train&y=y_train&split=y_test", DataError, "must hold 0"),
    "lengths differ": ("?x=x_train&y=y_test", DataError, "40 samples but 'y_test' has 12"),
    "unknown kind": ("?kind=sound", ConfigError, "unknown kind of data 'sound'"),
    "layout": ("?layout=chw", ConfigError, "nhwc or nchw"),
    "layout of three axes": ("?layout=nchw", ConfigError, "needs four dimensions"),
    "no value": ("?x=", ConfigError, "key=value"),
    "no equals": ("?x", ConfigError, "key=value"),
    "nothing": ("?", ConfigError, "key=value"),
    "twice": ("?x=a&x=b", ConfigError, "twice"),
}


@pytest.mark.parametrize("case", QUERIES)
def test_bad_queries(tmp_path: Path, case: str) -> None:
    query, kind, message = QUERIES[case]
    path = tmp_path / "good.npz"
    path.write_bytes(npz_bytes())
    with pytest.raises(kind, match=message):
        load_dataset(f"{path}{query}")


def test_split_array_that_does_not_fit(tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).normal(size=(30, 3)), np.arange(30) % 2
    np.savez(tmp_path / "a.npz", x=x, y=y, short=np.zeros(29, int), only_train=np.zeros(30, int), three=np.full(30, 3), text=np.full(30, "train"))
    for key, message in (("short", "differ in length: 'x' 30, 'y' 30, 'short' 29"), ("only_train", r"'x' \(test\) of .* is empty"),
                         ("three", "must hold 0"), ("text", "must hold 0")):
        with pytest.raises(DataError, match=message):
            load_dataset(f"{tmp_path}/a.npz?x=x&y=y&split={key}")


def test_unknown_names_and_missing_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "features.npz").write_bytes(npz_bytes())
    (tmp_path / "notes.txt").write_text("hello")
    for spec, message in (
        ("fashion-mnst", "unknown data set 'fashion-mnst'. Did you mean 'fashion-mnist'"), ("digit?x=1", "Did you mean 'digits'"),
        ("feature.npz", "there is no data file or folder 'feature.npz'. Did you mean 'features.npz'"), ("no/such/folder", "there is no data file"),
        ("", "has no name"), ("?x=1", "has no name"), ("digits?size=3", "takes no options"), ("a\0b", "unknown data set"),
    ):
        with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
            load_dataset(spec)
    with pytest.raises(DataError, match="is not a data set"):
        load_dataset("notes.txt")
    with pytest.raises(DataError, match="cannot be read"):
        load_dataset("x/" + "a" * 5000)


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            return (Path(tmp_path / "exploded").touch, ())

    np.savez(tmp_path / "bad.npz", **arrays(x_train=np.array([Bomb()] * 40, dtype=object)))
    with pytest.raises(DataError, match="can run code when loaded and is refused"):
        load_dataset(str(tmp_path / "bad.npz"))
    assert not (tmp_path / "exploded").exists()


def npy(shape: tuple[int, ...], dtype: str = "<f4", body: bytes = b"") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"shape": shape, "fortran_order": False, "descr": dtype})
    return stream.getvalue() + body


def rezip(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return stream.getvalue()


def members_of(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {info.filename.removesuffix(".npy"): archive.read(info) for info in archive.infolist()}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy((10**6, 10**6)), "the limit is 4096.00 MiB"),
        (npy((10**30, 2)), "the limit is"),
        (npy((40, 4, 3)), "1920 bytes, but only 128 are stored"),
        (npy((40, 4, 3), body=b"\0" * 1919), "truncated or longer"),
        (npy((40, 4, 3), body=b"\0" * 1921), "truncated or longer"),
        (npy((-40, 4, 3)), "impossible shape"),
        (npy((0, 10**40)), "corrupt|hold no values|is empty|limit"),
        (npy((100,), dtype="<U100000000"), "limit"),
        (npy((40, 4, 3), dtype="|O"), "pickled"),
        (b"", "corrupt or truncated"),
        (b"\x93NUMPY\x03\x00\x10\x00\x00\x00" + b" " * 16, "npy format 3.0"),
        (b"\x93NUMPY\x01\x00\xff\xff" + b"{" * 65535, "corrupt"),
        (b"\x93NUMPY\x01\x00\x04\x00{1:\n", "corrupt"),
    ],
)
def test_headers_that_lie(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.npz"
    path.write_bytes(rezip({**members_of(npz_bytes()), "x_train": content}))
    with pytest.raises(DataError, match=message):
        load_dataset(str(path))


@pytest.mark.parametrize("code", [0x110000, 0xFFFFFFFF, 0xD800])
def test_class_names_that_are_no_unicode(tmp_path: Path, code: int) -> None:
    names = np.array([[97], [98], [code], [100]], dtype="<u4").tobytes()
    path = tmp_path / "bad.npz"
    path.write_bytes(rezip({**members_of(npz_bytes()), "classes": npy((4,), dtype="<U1", body=names)}))
    with pytest.raises(DataError, match="not valid text"):
        load_dataset(str(path))


@pytest.mark.parametrize("dtype", ["<U6", ">U6", "S9"])
def test_class_names_of_any_width_and_byte_order(tmp_path: Path, dtype: str) -> None:
    names = ["été", "b c", "日本語", "d"]
    path = tmp_path / "good.npz"
    path.write_bytes(npz_bytes(classes=np.array([name.encode() for name in names] if dtype == "S9" else names, dtype=dtype)))
    assert load_dataset(str(path)).classes == tuple(names)


def test_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    body = npy((1 << 17, 1 << 14), dtype="|u1")  # 2 GiB as bytes, 8 GiB as float32
    path = tmp_path / "bomb.npz"
    path.write_bytes(rezip({**members_of(npz_bytes()), "x_train": body}))
    with pytest.raises(DataError, match=r"2147483648 values, 8192\.00 MiB as float32"):
        load_dataset(str(path))


def test_limit_counts_all_parts_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(npz_bytes())
    monkeypatch.setattr(raw, "MAX_FLOAT_BYTES", 4 * (40 + 11) * 12)
    with pytest.raises(DataError, match=f"holds {52 * 12} values"):
        load_dataset(str(path))


def test_every_truncation_of_an_npz(tmp_path: Path) -> None:
    content, path = npz_bytes(), tmp_path / "bad.npz"
    for length in range(0, len(content), 37):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"bad\.npz"):
            load_dataset(str(path))


def mutated(content: bytes, generator: np.random.Generator) -> bytes:
    changed = bytearray(content)
    for _ in range(int(generator.integers(1, 6))):
        at = int(generator.integers(len(changed)))
        match int(generator.integers(4)):
            case 0:
                changed[at] = int(generator.integers(256))
            case 1:
                changed[at] ^= 1 << int(generator.integers(8))
            case 2:
                del changed[at : at + int(generator.integers(1, 20))]
            case _:
                changed[at:at] = bytes(generator.integers(0, 256, int(generator.integers(1, 20)), dtype=np.uint8))
        if not changed:
            break
    return bytes(changed)


def outcome(path: Path) -> str:
    try:
        load_dataset(str(path))
    except EdgecompressError as error:
        assert error.message and "\n" not in error.message
        return "refused"
    return "read"


@pytest.mark.parametrize("compress", [True, False])
def test_mutated_npz_files(tmp_path: Path, compress: bool) -> None:
    """Bytes changed anywhere in the file: zip directory, compressed streams, CRCs."""
    content, path, generator = npz_bytes(compress), tmp_path / "fuzz.npz", np.random.default_rng(11)
    outcomes = []
    for _ in range(300):
        path.write_bytes(mutated(content, generator))
        outcomes.append(outcome(path))
    assert outcomes.count("refused") > 150


def test_mutated_arrays_inside_an_intact_zip(tmp_path: Path) -> None:
    """The CRC hides damage from the readers behind it, so each member is changed and zipped anew; most changes hit its header."""
    members, path, generator = members_of(npz_bytes()), tmp_path / "fuzz.npz", np.random.default_rng(12)
    outcomes = []
    for _ in range(300):
        name = str(generator.choice(list(members)))
        cut = 128 if generator.random() < 0.7 else len(members[name])
        damaged = mutated(members[name][:cut], generator) + members[name][cut:]
        path.write_bytes(rezip({**members, name: damaged}))
        outcomes.append(outcome(path))
    assert outcomes.count("refused") > 100 and "read" in outcomes


def idx_bytes(array: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + b"".join(size.to_bytes(4, "big") for size in array.shape) + array.tobytes()


def test_damaged_idx_files(tmp_path: Path) -> None:
    images, marks = np.arange(40 * 4, dtype=np.uint8).reshape(40, 2, 2), (np.arange(40) % 2).astype(np.uint8)
    for stem in ("train", "t10k"):
        (tmp_path / f"{stem}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(images)))
        (tmp_path / f"{stem}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(marks)))
    assert load_dataset(str(tmp_path)).input_shape == (2, 2, 1)
    for query, message in (("?train=41", "more than the 40 samples"), ("?test=0", "whole number above 0"), ("?train=x", "whole number"),
                           ("?test=2.5", "whole number"), ("?limit=3", "unknown data set option")):
        with pytest.raises(EdgecompressError, match=message):
            load_dataset(f"{tmp_path}{query}")
    path = tmp_path / "train-images-idx3-ubyte.gz"
    good = path.read_bytes()
    flipped = bytearray(good)
    flipped[-6] ^= 0xFF
    for content, message in (
        (good[: len(good) // 2], "corrupt, truncated"), (bytes(flipped), "corrupt"), (b"hello", "corrupt"), (b"", "not an IDX file"),
        (gzip.compress(idx_bytes(marks)), "not an IDX file of 3-dimensional"), (gzip.compress(idx_bytes(images)[:-1]), r"160 bytes, but holds 159"),
        (gzip.compress(idx_bytes(images) + b"x"), "but holds more"), (gzip.compress(bytes((0, 0, 8, 3)) + b"\x7f" * 12), "limit"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            load_dataset(str(tmp_path))
    path.write_bytes(good)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match="has no file 't10k-labels-idx1-ubyte'"):
        load_dataset(str(tmp_path))


def image_folder(folder: Path) -> Path:
    generator = np.random.default_rng(5)
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for index in range(6):
            Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / name / f"{index}.png")
    return folder


def test_bad_image_folders(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "set")
    victim = folder / "a" / "3.png"
    good = victim.read_bytes()
    for content in (good[:60], good[:-30], b"", b"not an image", good[:80] + bytes(40) + good[120:]):
        victim.write_bytes(content)
        with pytest.raises(DataError, match=r"image '.*3\.png' (is corrupt or truncated|cannot be read)"):
            load_dataset(str(folder))
    Image.new("I;16", (8, 8)).save(victim)
    with pytest.raises(DataError, match="more than 8 bits a pixel"):
        load_dataset(str(folder))
    Image.new("1", (20_000, 4_000)).save(victim)
    with pytest.raises(DataError, match="is 20000x4000; at most 67108864 pixels"):
        load_dataset(f"{folder}?size=8x8")
    Image.new("RGB", (9, 8)).save(victim)
    with pytest.raises(DataError, match=r"images differ in size: '.*0\.png' is 8x8, '.*3\.png' is 9x8") as caught:
        load_dataset(str(folder))
    assert "?size=8x8" in str(caught.value) and load_dataset(f"{folder}?size=8x8").input_shape == (8, 8, 3)
    for query in ("?size=8", "?size=0x8", "?size=8x", "?size=8x8&gray=maybe", "?seconds=1"):
        with pytest.raises(ConfigError):
            load_dataset(f"{folder}{query}")
    with pytest.raises(DataError, match="the limit is"):
        load_dataset(f"{folder}?size=99999x99999")


def test_folders_that_are_no_data_sets(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no samples"):
        load_dataset(str(tmp_path / "empty"))
    one = image_folder(tmp_path / "one")
    for path in (one / "b").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="has 1 class in its train part"):
        load_dataset(str(one))
    lonely = image_folder(tmp_path / "lonely")
    for index in range(4):
        (lonely / "b" / f"{index}.png").unlink()
    with pytest.raises(DataError, match=r"class 'b' of .* has 2 samples; at least 3"):
        load_dataset(str(lonely))
    mixed = image_folder(tmp_path / "mixed")
    (mixed / "a" / "x.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match="mixes images and wav"):
        load_dataset(str(mixed))
    image_folder(tmp_path / "parts" / "train")
    with pytest.raises(DataError, match="no 'test' folder"):
        load_dataset(str(tmp_path / "parts"))
    image_folder(tmp_path / "parts" / "test")
    (tmp_path / "parts" / "test" / "a").rename(tmp_path / "parts" / "test" / "zebra")
    with pytest.raises(DataError, match=r"class 'zebra' has 6 samples in the test part .* none in the train part"):
        load_dataset(str(tmp_path / "parts"))
    (tmp_path / "parts" / "cats").mkdir()
    with pytest.raises(DataError, match="'train' beside 'cats'"):
        load_dataset(str(tmp_path / "parts"))


def write_wav(path: Path, rate: int = 16_000, channels: int = 1, width: int = 2, samples: int = 16_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(len(path.name) + samples)
    with wave.open(str(path), "wb") as stream:
        stream.setnchannels(channels)
        stream.setsampwidth(width)
        stream.setframerate(rate)
        stream.writeframes(generator.integers(0, 256, samples * channels * width, dtype=np.uint8).tobytes())


def test_bad_wav_folders(tmp_path: Path) -> None:
    for name in ("no", "yes"):
        for index in range(5):
            write_wav(tmp_path / name / f"{index}.wav", samples=8_000 + index)
    assert load_dataset(str(tmp_path)).input_shape == (49, 10, 1)
    victim = tmp_path / "no" / "2.wav"
    good = victim.read_bytes()
    for form, message in (({"rate": 8_000}, "is 8000 Hz, 1 channel"), ({"channels": 2}, "2 channel"), ({"width": 1}, "8 bit"),
                          ({"samples": 16_001}, r"1\.00 s long, the data set's clips 1 s"), ({"samples": 0}, "truncated or empty")):
        write_wav(victim, **form)
        with pytest.raises(DataError, match=message):
            load_dataset(str(tmp_path))
    float_format = bytearray(good)
    float_format[20] = 3
    for content in (good[:20], good[:44], good[:1001], b"", b"RIFFxxxxWAVE", bytes(float_format)):
        victim.write_bytes(content)
        with pytest.raises(DataError, match=r"2\.wav"):
            load_dataset(str(tmp_path))
    victim.write_bytes(good)
    for query in ("?seconds=0", "?seconds=nan", "?seconds=0.01", "?seconds=1e9", "?size=3x3"):
        with pytest.raises(ConfigError):
            load_dataset(f"{tmp_path}{query}")


def test_mutated_wavs_and_images(tmp_path: Path) -> None:
    generator = np.random.default_rng(13)
    folder = image_folder(tmp_path / "images")
    for name in ("no", "yes"):
        for index in range(4):
            write_wav(tmp_path / "wavs" / name / f"{index}.wav", samples=600)
    for victim, root, rounds in ((folder / "a" / "0.png", folder, 100), (tmp_path / "wavs" / "no" / "0.wav", tmp_path / "wavs", 100)):
        good, outcomes = victim.read_bytes(), []
        for _ in range(rounds):
            head = 64 if generator.random() < 0.8 else len(good)
            victim.write_bytes(mutated(good[:head], generator) + good[head:])
            outcomes.append(outcome(root))
        assert "refused" in outcomes
