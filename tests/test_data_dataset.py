"""Data sets that are as they should be: every kind of spec, splits, normalisation, provenance."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgecompress.data.dataset import Dataset, TrainingData, duplicates, load_dataset
from edgecompress.data.sources import KNOWN
from edgecompress.errors import ConfigError, DataError

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def write_npz(path: Path, **changes: Any) -> str:
    generator = np.random.default_rng(7)
    arrays: dict[str, Any] = {
        "x_train": generator.integers(0, 256, (90, 6, 5), dtype=np.uint8), "y_train": np.arange(90) % 3,
        "x_test": generator.integers(0, 256, (30, 6, 5), dtype=np.uint8), "y_test": np.arange(30) % 3,
    }
    arrays.update(changes)
    np.savez_compressed(path, **{key: value for key, value in arrays.items() if value is not None})
    return str(path)


def write_idx(folder: Path, compress: bool = True) -> Path:
    folder.mkdir(parents=True)
    generator = np.random.default_rng(3)
    for stem, count in (("train", 60), ("t10k", 20)):
        images, labels = generator.integers(0, 256, (count, 4, 4), dtype=np.uint8), (np.arange(count) % 10).astype(np.uint8)
        for name, array in ((f"{stem}-images-idx3-ubyte", images), (f"{stem}-labels-idx1-ubyte", labels)):
            content = bytes((0, 0, 8, array.ndim)) + b"".join(size.to_bytes(4, "big") for size in array.shape) + array.tobytes()
            path = folder / (name + ".gz" if compress else name)
            path.write_bytes(gzip.compress(content) if compress else content)
    return folder


def write_images(folder: Path, classes: dict[str, int], size: tuple[int, int] = (6, 4), mode: str = "RGB") -> Path:
    generator = np.random.default_rng(len(str(folder)))
    for name, count in classes.items():
        (folder / name).mkdir(parents=True)
        for index in range(count):
            shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
            Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8)).save(folder / name / f"{index}.png")
    return folder


def check_invariants(dataset: Dataset) -> None:
    for samples in dataset.parts.values():
        assert samples.x.dtype == np.float32 and samples.y.dtype == np.int64
        assert samples.x.shape == (len(samples.y), *dataset.input_shape)
        assert samples.y.min() >= 0 and samples.y.max() < len(dataset.classes)
    assert set(np.unique(dataset.train.y)) == set(range(len(dataset.classes)))
    assert abs(float(dataset.train.x.mean())) < 0.02 or dataset.normalization.mean == round(dataset.normalization.mean)


def test_digits_is_stratified_and_whole() -> None:
    dataset = load_dataset("digits")
    check_invariants(dataset)
    assert dataset.input_shape == (8, 8, 1) and dataset.kind == "image"
    sizes = {name: len(samples) for name, samples in dataset.parts.items()}
    assert sum(sizes.values()) == 1797
    assert abs(sizes["train"] / 1797 - 0.60) < 0.01 and abs(sizes["validation"] / 1797 - 0.15) < 0.01
    for samples in dataset.parts.values():
        share = np.bincount(samples.y) / len(samples)
        assert np.abs(share - 0.1).max() < 0.01
    raw = np.concatenate([np.round(samples.x / dataset.normalization.scale + dataset.normalization.mean) for samples in dataset.parts.values()])
    from sklearn.datasets import load_digits

    everything = load_digits().images.reshape(1797, -1).astype(int).tolist()
    assert sorted(raw.reshape(1797, -1).astype(int).tolist()) == sorted(everything)


def test_same_seed_same_data_and_the_test_part_ignores_the_seed() -> None:
    first, again, other = load_dataset("digits", 1), load_dataset("digits", 1), load_dataset("digits", 2)
    assert first.hash == again.hash != other.hash
    np.testing.assert_array_equal(first.test.x, other.test.x)
    assert first.normalization == other.normalization
    assert not np.array_equal(first.validation.x, other.validation.x)


def test_validation_fraction_is_of_the_whole_pool_or_of_the_given_training_part(tmp_path: Path) -> None:
    pool = load_dataset("digits", validation_fraction=0.3)
    assert abs(len(pool.validation) / 1797 - 0.3) < 0.01 and abs(len(pool.test) / 1797 - 0.25) < 0.01
    given = load_dataset(write_npz(tmp_path / "a.npz"), validation_fraction=0.2)
    assert [len(samples) for samples in given.parts.values()] == [72, 18, 30]


def test_without_test_has_no_way_to_the_test_part() -> None:
    training = load_dataset("digits").without_test()
    assert isinstance(training, TrainingData) and not hasattr(training, "test")
    reachable = [array for value in (training.train, training.validation) for array in (value.x, value.y)]
    assert all(len(array) <= 1078 and (array.base is None or len(array.base) <= 1078) for array in reachable)


def test_integer_pixels_become_int8_by_subtracting_128(tmp_path: Path) -> None:
    raw = np.random.default_rng(0).integers(0, 256, (90, 6, 5), dtype=np.uint8)
    raw[0, 0, :2] = 0, 255
    dataset = load_dataset(write_npz(tmp_path / "a.npz", x_train=raw, x_val=raw[:9], y_val=np.arange(9) % 3))
    low, high = float(dataset.train.x.min()), float(dataset.train.x.max())
    step = (high - low) / 255.0
    zero_point = round(-128 - low / step)
    quantized = np.round(dataset.train.x / step) + zero_point
    np.testing.assert_array_equal(quantized[..., 0], raw.astype(int) - 128)


def test_normalisation_comes_from_the_training_part_alone(tmp_path: Path) -> None:
    x_train = np.random.default_rng(0).normal(3.0, 2.0, (90, 6, 5))
    spec = write_npz(tmp_path / "a.npz", x_train=x_train, x_test=np.full((30, 6, 5), 1e6))
    dataset = load_dataset(spec)
    assert dataset.normalization.mean == pytest.approx(x_train.mean()) and dataset.normalization.scale == pytest.approx(1.0 / x_train.std())
    np.testing.assert_array_equal(dataset.test.x, dataset.normalization.apply(np.full((30, 6, 5, 1), 1e6)))


def test_given_parts_and_classes_are_kept(tmp_path: Path) -> None:
    spec = write_npz(
        tmp_path / "a.npz", x_val=np.zeros((6, 6, 5), np.uint8), y_val=np.arange(6) % 3, classes=np.array([b"cat", b"dog", b"owl"]),
    )
    dataset = load_dataset(spec)
    check_invariants(dataset)
    assert [len(samples) for samples in dataset.parts.values()] == [90, 6, 30]
    assert dataset.classes == ("cat", "dog", "owl") and dataset.name == "a"
    assert duplicates(dataset) == {"train-validation": 0, "train-test": 0, "validation-test": 0}


def test_duplicates_across_parts_are_counted(tmp_path: Path) -> None:
    x = np.random.default_rng(1).integers(0, 256, (90, 6, 5), dtype=np.uint8)
    spec = write_npz(tmp_path / "a.npz", x_train=x, x_test=np.concatenate([x[:4], 255 - x[:26]]), x_val=x[2:11], y_val=np.arange(9) % 3)
    assert duplicates(load_dataset(spec)) == {"train-validation": 9, "train-test": 4, "validation-test": 2}


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((90, 7), (7, 1, 1)), ((90, 7, 3), (7, 3, 1)), ((90, 4, 5, 3), (4, 5, 3)), ((90, 1, 1, 1), (1, 1, 1))],
)
def test_missing_axes_are_added(tmp_path: Path, shape: tuple[int, ...], expected: tuple[int, int, int]) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    assert load_dataset(write_npz(tmp_path / "a.npz", x_train=x, x_test=x, y_test=np.arange(90) % 3)).input_shape == expected


def test_keys_by_name_with_a_split_array(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(60, 9, 4)).astype(np.float16)
    split = np.repeat([0, 1, 2], 20).astype(np.uint8)
    np.savez(tmp_path / "speech.npz", feats=x, labels=(np.arange(60) % 2).astype(np.uint8), part=split, words=np.array(["no", "yes"]))
    dataset = load_dataset(f"{tmp_path}/speech.npz?x=feats&y=labels&split=part&classes=words")
    check_invariants(dataset)
    assert dataset.kind == "audio" and dataset.classes == ("no", "yes")
    raw_test = dataset.test.x[..., 0] / dataset.normalization.scale + dataset.normalization.mean
    np.testing.assert_allclose(raw_test, x[split == 2], atol=2e-3)
    pool = load_dataset(f"{tmp_path}/speech.npz?x=feats&y=labels&kind=series")
    assert pool.kind == "series" and [len(samples) for samples in pool.parts.values()] == [36, 8, 16]


def test_channels_first_option_and_hint(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (90, 3, 8, 8), dtype=np.uint8)
    spec = write_npz(tmp_path / "a.npz", x_train=x, x_test=x[:30])
    assert any("layout=nchw" in note for note in load_dataset(spec).notes)
    dataset = load_dataset(f"{spec}?layout=nchw")
    assert dataset.input_shape == (8, 8, 3) and not any("nchw" in note for note in dataset.notes)
    np.testing.assert_array_equal(dataset.test.x, dataset.normalization.apply(x[:30].transpose(0, 2, 3, 1)))


def test_gaps_in_labels_are_closed_and_recorded(tmp_path: Path) -> None:
    numbers = np.array([2, 5, 9])
    dataset = load_dataset(write_npz(tmp_path / "a.npz", y_train=numbers[np.arange(90) % 3], y_test=numbers[np.arange(30) % 3]))
    assert dataset.classes == ("2", "5", "9") and set(dataset.test.y.tolist()) == {0, 1, 2}
    assert any("contiguous" in note for note in dataset.notes)


def test_fortran_order_big_endian_and_columns_of_labels(tmp_path: Path) -> None:
    x = np.asfortranarray(np.random.default_rng(0).normal(size=(90, 6, 5)).astype(">f4"))
    dataset = load_dataset(write_npz(tmp_path / "a.npz", x_train=x, x_test=x[:30], y_train=(np.arange(90) % 3).astype(">i2")[:, None]))
    np.testing.assert_array_equal(dataset.test.x[..., 0], dataset.normalization.apply(x[:30]))


@pytest.mark.parametrize("compress", [True, False])
def test_idx_folder(tmp_path: Path, compress: bool) -> None:
    folder = write_idx(tmp_path / "some" / "mnist", compress)
    dataset = load_dataset(str(folder))
    check_invariants(dataset)
    assert [len(samples) for samples in dataset.parts.values()] == [50, 10, 20] and dataset.name == "mnist"
    assert len(load_dataset(f"{folder}?train=40&test=10").test) == 10
    named = load_dataset(f"fashion-mnist?path={folder}")
    assert named.classes[9] == "Ankle boot"


def test_fashion_mnist_is_found_where_torchvision_puts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgecompress.data import idx

    monkeypatch.chdir(tmp_path)
    write_idx(tmp_path / "data" / "FashionMNIST" / "raw", compress=False)
    places = idx.fashion_mnist_places()
    assert Path("data/FashionMNIST/raw") in places
    monkeypatch.setattr(idx, "fashion_mnist_places", lambda: [place for place in places if not place.is_absolute()])
    assert len(load_dataset("fashion-mnist").test) == 20
    monkeypatch.setattr(idx, "fashion_mnist_places", lambda: [tmp_path / "nowhere"])
    with pytest.raises(DataError, match="not on this machine") as caught:
        load_dataset("fashion-mnist")
    assert "apt install dataset-fashion-mnist" in str(caught.value)


@pytest.mark.skipif(KNOWN["fashion-mnist"].where() is None, reason="fashion-mnist is not on this machine")
def test_real_fashion_mnist() -> None:
    dataset = load_dataset("fashion-mnist?train=12000&test=3000")
    check_invariants(dataset)
    assert [len(samples) for samples in dataset.parts.values()] == [10200, 1800, 3000] and dataset.input_shape == (28, 28, 1)
    assert (dataset.normalization.raw_min, dataset.normalization.raw_max) == (0.0, 255.0)


def test_image_folder_without_parts(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "photos", {"cat": 20, "dog": 20, ".hidden": 3})
    (folder / "cat" / "notes.txt").write_text("x")
    dataset = load_dataset(str(folder))
    check_invariants(dataset)
    assert dataset.classes == ("cat", "dog") and dataset.input_shape == (4, 6, 3) and dataset.name == "photos"
    assert [len(samples) for samples in dataset.parts.values()] == [24, 6, 10]
    assert any("1 files or folders" in note for note in dataset.notes)
    assert load_dataset(f"{folder}?size=3x2&gray=1").input_shape == (2, 3, 1)


def test_image_folder_with_parts_keeps_pixels(tmp_path: Path) -> None:
    for part, count in (("train", 10), ("val", 3), ("test", 4)):
        write_images(tmp_path / "set" / part, {"a": count, "b": count}, mode="L")
    dataset = load_dataset(str(tmp_path / "set"))
    check_invariants(dataset)
    assert [len(samples) for samples in dataset.parts.values()] == [20, 6, 8] and dataset.input_shape == (4, 6, 1)
    pixels = np.asarray(Image.open(tmp_path / "set" / "test" / "b" / "0.png"))
    np.testing.assert_array_equal(dataset.test.x[4, :, :, 0], dataset.normalization.apply(pixels))


def test_palette_and_grey_images_among_colour_ones_become_rgb(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "set", {"a": 6, "b": 6})
    colour = Image.open(folder / "a" / "0.png").convert("P")
    colour.save(folder / "a" / "0.png")
    Image.new("L", (6, 4), 77).save(folder / "b" / "0.png")
    dataset = load_dataset(str(folder))
    stored = np.concatenate([samples.x for samples in dataset.parts.values()])
    assert dataset.input_shape == (4, 6, 3)
    assert sum(np.array_equal(image, dataset.normalization.apply(np.full((4, 6, 3), 77))) for image in stored) == 1


def test_known_name_wins_over_a_folder_unless_the_folder_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "digits", {"a": 6, "b": 6})
    assert load_dataset("digits").input_shape == (8, 8, 1)
    assert load_dataset("./digits").input_shape == (4, 6, 3)


def test_hash_depends_on_content_and_not_on_place(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    first, same = load_dataset(write_npz(tmp_path / "a.npz")), load_dataset(write_npz(tmp_path / "b" / "c.npz"))
    changed = load_dataset(write_npz(tmp_path / "d.npz", y_test=(np.arange(30) + 1) % 3))
    assert first.hash == same.hash != changed.hash


def test_bad_arguments() -> None:
    with pytest.raises(ConfigError, match="seed"):
        load_dataset("digits", seed=-1)
    for fraction in (0.0, 0.6, float("nan")):
        with pytest.raises(ConfigError, match="fraction"):
            load_dataset("digits", validation_fraction=fraction)


def test_reading_an_npz_imports_neither_torch_nor_sklearn(tmp_path: Path) -> None:
    spec = write_npz(tmp_path / "a.npz")
    code = (
        "import sys; from edgecompress.data.dataset import load_dataset; import edgecompress.data.augment, edgecompress.cli.data; "
        f"load_dataset({spec!r}); print(sorted({{'torch', 'sklearn', 'PIL', 'rich'}} & set(sys.modules)))"
    )
    root = str(Path(__file__).resolve().parents[1])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the development data is not beside the checkout")
def test_development_data_sets() -> None:
    speech = load_dataset(f"{SHARED}/audio/speech_commands12_features.npz?x=mfcc_f16&y=labels&split=split&classes=classes")
    assert [len(samples) for samples in speech.parts.values()] == [3321, 639, 930]
    assert speech.input_shape == (49, 10, 1) and speech.kind == "audio" and speech.classes[0] == "down" and len(speech.classes) == 12
    fashion = load_dataset(f"{SHARED}/images/fashion_mnist_12k_3k.npz")
    assert [len(samples) for samples in fashion.parts.values()] == [10200, 1800, 3000]
    if KNOWN["fashion-mnist"].where() is not None:
        assert fashion.hash == load_dataset("fashion-mnist?train=12000&test=3000").hash
