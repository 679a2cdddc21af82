"""The data sets `gnss` and `gnss-characterization`: options, parts, hashes, and what is known of every sample."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgecompress.data import gnss, gnss_source
from edgecompress.data.dataset import duplicates, load_dataset
from edgecompress.data.gnss_source import accuracy_by_jnr, parse_options, snapshot_parameters
from edgecompress.data.sources import KNOWN, parse_spec
from edgecompress.errors import ConfigError, DataError, EdgecompressError

SMALL = "gnss?train=70&validation=35&test=28"


def test_parts_come_as_asked_and_never_mix() -> None:
    dataset = load_dataset(SMALL)
    assert {name: len(part) for name, part in dataset.parts.items()} == {"train": 70, "validation": 35, "test": 28}
    assert dataset.kind == "image" and dataset.input_shape == (32, 32, 1) and dataset.classes == gnss.KINDS
    assert all((np.bincount(part.y) == len(part) // 7).all() for part in dataset.parts.values())
    assert set(duplicates(dataset).values()) == {0}
    assert dataset.normalization.raw_dtype == "uint8" and dataset.normalization.mean == round(dataset.normalization.mean)
    assert abs(float(dataset.train.x.mean())) < 0.1 and abs(float(dataset.train.x.std()) - 1) < 0.01
    again = load_dataset(SMALL, seed=9, validation_fraction=0.4)  # the parts are given: neither may change them
    assert again.hash == dataset.hash and np.array_equal(again.validation.x, dataset.validation.x)


def test_a_larger_set_begins_with_the_smaller_one() -> None:
    small, large = load_dataset(SMALL), load_dataset("gnss?train=140&validation=35&test=56")

    def raw(x: np.ndarray, dataset: object) -> np.ndarray:
        rule = dataset.normalization  # type: ignore[attr-defined]
        return np.rint(x / rule.scale + rule.mean)

    assert np.array_equal(raw(large.train.x[:70], large), raw(small.train.x, small)) and np.array_equal(large.test.y[:28], small.test.y)


def test_raw_iq_is_what_the_converter_gives() -> None:
    dataset = load_dataset(SMALL + "&features=iq")
    assert dataset.kind == "series" and dataset.input_shape == (2048, 1, 2) and dataset.normalization.raw_dtype == "int8"
    config = gnss.SnapshotConfig()
    iq, _ = gnss.simulate(config, gnss.make_task("kinds", config), 0, "test", 0, 28)
    codes = np.rint(dataset.test.x / dataset.normalization.scale + dataset.normalization.mean)
    assert np.array_equal(codes[..., 0, 0] + 1j * codes[..., 0, 1], iq)
    assert load_dataset(SMALL + "&features=iq&adc=12").normalization.raw_dtype == "int16"


def test_metadata_belongs_to_the_samples() -> None:
    spec = "gnss?train=70&validation=35&test=140&jnr=0..10&bandwidth=2..4&seed=8&features=iq"
    dataset, parameters = load_dataset(spec), snapshot_parameters(spec)
    assert np.array_equal(parameters.label, dataset.test.y) and len(parameters) == 140
    interfered = parameters.kind > 0
    assert np.array_equal(np.isnan(parameters.jnr_db), ~interfered)
    assert parameters.jnr_db[interfered].min() >= 0 and parameters.jnr_db[interfered].max() <= 10
    banded = parameters.kind > 1
    assert parameters.bandwidth_hz[banded].min() >= 2e6 and parameters.bandwidth_hz[banded].max() <= 4e6
    # the tone's line is where its metadata says, so the rows are the samples' own
    for row in np.flatnonzero(parameters.kind == 1):
        samples = dataset.test.x[row, :, 0, 0] + 1j * dataset.test.x[row, :, 0, 1]
        line = np.fft.fftfreq(2048, 1 / 20e6)[np.abs(np.fft.fft(samples - samples.mean())).argmax()]
        assert abs(line - parameters.center_hz[row]) <= 20e6 / 2048
    assert len(snapshot_parameters(spec, "validation")) == 35


def test_the_hash_covers_options_and_the_simulators_version(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = {load_dataset(spec).hash for spec in (SMALL, SMALL + "&seed=1", SMALL + "&jnr=-10..5", SMALL + "&multipath=0", SMALL + "&adc=4")}
    assert len(hashes) == 5
    assert load_dataset(SMALL + "&seed=0&jnr=-10..4&multipath=1").hash in hashes  # the defaults, said
    monkeypatch.setattr(gnss_source, "SIMULATOR_VERSION", 999)
    assert load_dataset(SMALL).hash not in hashes


def test_multipath_can_be_left_out() -> None:
    assert not snapshot_parameters(SMALL + "&multipath=0").echo_amplitude.any() and snapshot_parameters(SMALL).echo_amplitude.any()


def test_characterization_is_a_data_set_of_311_classes() -> None:
    dataset = load_dataset("gnss-characterization?train=622&validation=311&test=311")
    assert len(dataset.classes) == 311 and dataset.classes[0] == "none" and dataset.classes[1] == "tone -5..-2 dB"
    assert dataset.classes[11] == "multi_tone 1.00..1.59 MHz -5..-2 dB" and (np.bincount(dataset.train.y) == 2).all()
    assert np.array_equal(snapshot_parameters("gnss-characterization?test=311").label, dataset.test.y)


def test_the_default_sizes() -> None:
    assert dict(parse_options("gnss", parse_spec("gnss")[1]).sizes) == {"train": 5000, "validation": 1000, "test": 2000}
    assert dict(parse_options("gnss", parse_spec("gnss?train=6000&test=3000")[1]).sizes) == {"train": 6000, "validation": 1200, "test": 3000}
    assert {"gnss", "gnss-characterization"} <= set(KNOWN) and all(KNOWN[name].where() for name in ("gnss", "gnss-characterization"))


@pytest.mark.parametrize(("query", "message"), [
    ("trian=10", "unknown data set option 'trian'. Did you mean 'train'?"),
    ("train=6", "option 'train' must be a whole number from 7 to 10000000, not '6'"),
    ("train=1e3", "option 'train' must be a whole number"),
    ("train=-70", "option 'train' must be a whole number"),
    ("train=٣٠", "option 'train' must be a whole number"),
    ("train=" + "9" * 5000, "option 'train' must be a whole number"),
    ("test=0", "option 'test' must be a whole number from 7"),
    ("jnr=4", "option 'jnr' is LOW..HIGH in dB, from -40 to 60, not '4'"),
    ("jnr=4..-10", "option 'jnr' is LOW..HIGH in dB"),
    ("jnr=nan..nan", "option 'jnr' is LOW..HIGH in dB"),
    ("jnr=-inf..0", "option 'jnr' is LOW..HIGH in dB"),
    ("jnr=-10..400", "option 'jnr' is LOW..HIGH in dB"),
    ("jnr=0..1..2", "option 'jnr' is LOW..HIGH in dB"),
    ("bandwidth=0..16", "option 'bandwidth' is LOW..HIGH in MHz, from 0.1 to 20"),
    ("bandwidth=1..21", "option 'bandwidth' is LOW..HIGH in MHz"),
    ("features=wavelet", "unknown GNSS feature 'wavelet'"),
    ("adc=1", "option 'adc' must be a whole number from 2 to 16"),
    ("seed=-1", "option 'seed' must be a whole number from 0"),
    ("seed=9223372036854775808", "option 'seed' must be a whole number from 0"),
    ("multipath=maybe", "option 'multipath' must be 1 or 0"),
    ("train=70&train=70", "gives the option 'train' twice"),
    ("train", "options as key=value"),
])
def test_wrong_options_are_one_sentence(query: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_dataset(f"gnss?{query}")
    assert message in caught.value.message and not caught.value.details and "\n" not in caught.value.message


def test_what_does_not_fit_is_refused_before_it_is_made() -> None:
    with pytest.raises(DataError, match="the limit is 4"):
        load_dataset("gnss?train=10000000")
    with pytest.raises(ConfigError, match="characterization cuts it into bins"):
        load_dataset("gnss-characterization?jnr=3..3")
    with pytest.raises(ConfigError, match="from 311 to"):
        load_dataset("gnss-characterization?train=310")
    with pytest.raises(ConfigError, match="unknown simulated data set 'digits'"):
        snapshot_parameters("digits")
    with pytest.raises(ConfigError, match="unknown part 'tests'"):
        snapshot_parameters(SMALL, "tests")


@settings(max_examples=60, deadline=None)
@example({"train": "\n"}, "gnss")
@given(
    st.dictionaries(st.sampled_from([*gnss_source.OPTIONS, "other"]), st.text(max_size=12), max_size=4), st.sampled_from(sorted(gnss_source.TASKS))
)
def test_hostile_options_end_in_our_own_errors(values: dict[str, str], name: str) -> None:
    from edgecompress.data.raw import Options

    try:
        spec = parse_options(name, Options(values))
    except EdgecompressError as error:
        assert "\n" not in error.message
    else:
        assert spec.provenance and min(count for _, count in spec.sizes) >= len(spec.task.classes)


def test_accuracy_by_jnr() -> None:
    jnr = np.array([np.nan, -10.0, -5.0, -5.0, 0.0, 4.0])
    rows = accuracy_by_jnr([0, 1, 2, 0, 1, 1], [0, 1, 2, 1, 1, 2], jnr, (-10, -5, 0, 4))
    assert [row.samples for row in rows] == [1, 2, 2] and [row.accuracy for row in rows] == [1.0, 0.5, 0.5]
    assert rows[1].standard_error == pytest.approx(np.sqrt(0.25 / 2)) and (rows[2].low_db, rows[2].high_db) == (0, 4)
    empty = accuracy_by_jnr([0], [0], [0.0], (5, 6))[0]
    assert empty.samples == 0 and empty.accuracy is None and empty.standard_error is None
    with pytest.raises(DataError, match="one prediction, label and JNR a sample"):
        accuracy_by_jnr([0, 1], [0], [0.0], (0, 1))
    for edges in ((0,), (1, 0), (0, 0), (0, float("nan"))):
        with pytest.raises(ConfigError, match="JNR edges must rise"):
            accuracy_by_jnr([0], [0], [0.0], edges)


def test_the_simulator_needs_no_torch() -> None:
    code = "import sys; from edgecompress.data.dataset import load_dataset as f; f('gnss?train=7&validation=7&test=7'); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
