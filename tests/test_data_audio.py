"""The MLPerf Tiny front end and folders of wav files."""

from __future__ import annotations

import math
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecompress.data.dataset import duplicates, load_dataset
from edgecompress.data.mfcc import frame_count, mfcc
from edgecompress.data.wavs import read_wav

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "audio"


def write_wav(path: Path, clip: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(16_000)
        stream.writeframes(np.asarray(clip, dtype="<i2").tobytes())


def tone(hertz: float, samples: int = 16_000, seed: int = 0) -> Any:
    noise = np.random.default_rng(seed).normal(0, 300, samples)
    return (8000 * np.sin(2 * np.pi * hertz * np.arange(samples) / 16_000) + noise).astype(np.int16)


def slow_mfcc(clip: Any) -> Any:
    """The same definition written once more: one frame at a time, a direct Fourier sum, scipy's DCT."""
    from scipy.fft import dct

    wave_form = clip.astype(np.float64) / clip.max()
    window = np.array([0.5 - 0.5 * np.cos(2 * np.pi * index / 480) for index in range(480)])
    kernel = np.exp(-2j * np.pi * np.outer(np.arange(257), np.arange(480)) / 512)

    def mel(hertz: float) -> float:
        return 2595.0 * math.log10(1.0 + hertz / 700.0)

    edges = [mel(20) + (mel(4000) - mel(20)) * index / 41 for index in range(42)]
    rows = []
    for start in range(0, len(clip) - 479, 320):
        magnitude = np.abs(kernel @ (wave_form[start : start + 480] * window))
        bands = np.zeros(40)
        for band in range(40):
            for index in range(1, 257):
                at = mel(index * 16_000 / 512)
                rise, fall = (at - edges[band]) / (edges[band + 1] - edges[band]), (edges[band + 2] - at) / (edges[band + 2] - edges[band + 1])
                bands[band] += max(0.0, min(rise, fall)) * magnitude[index]
        rows.append(dct(np.log(bands + 1e-6), type=2)[:10] / np.sqrt(80))
    return np.array(rows)


def test_mfcc_against_a_second_implementation() -> None:
    clips = np.stack([tone(300, 1_500), tone(2_000, 1_500, 1)])
    features = mfcc(clips)
    assert features.shape == (2, frame_count(1_500), 10) == (2, 4, 10) and features.dtype == np.float32
    np.testing.assert_allclose(features, np.stack([slow_mfcc(clip) for clip in clips]), rtol=1e-4, atol=1e-4)


def test_mfcc_of_silence_and_of_many_clips() -> None:
    silence = mfcc(np.zeros((1, 16_000), np.int16))
    assert silence.shape == (1, 49, 10) and np.isfinite(silence).all()
    np.testing.assert_allclose(silence[0, :, 0], 80 * np.log(1e-6) / np.sqrt(80), rtol=1e-5)
    clips = np.stack([tone(100 + 20 * index, 2_000, index) for index in range(70)])
    np.testing.assert_array_equal(mfcc(clips)[66], mfcc(clips[66:67])[0])


@pytest.mark.skipif(not SHARED.is_dir(), reason="the development data is not beside the checkout")
def test_mfcc_of_real_speech_to_float16_precision() -> None:
    raw, stored = np.load(SHARED / "speech_commands12_raw240_16k.npz"), np.load(SHARED / "speech_commands12_features.npz")
    expected = stored["mfcc_f16"][raw["feature_index"]]
    computed = mfcc(raw["audio"])
    distance = np.abs(computed.astype(np.float64) - expected.astype(np.float64))
    step = np.maximum(np.spacing(np.abs(expected)).astype(np.float64), 2.0**-11)  # near zero the reference's own float32 noise is larger
    assert (distance <= 0.51 * step).all()  # what rounding to float16 costs
    assert (computed.astype(np.float16) == expected).mean() > 0.998


def test_read_wav_pads_with_silence(tmp_path: Path) -> None:
    clip = tone(440, 1_000)
    write_wav(tmp_path / "a.wav", clip)
    read = read_wav(tmp_path / "a.wav", 1_600)
    np.testing.assert_array_equal(read[:1_000], clip)
    assert len(read) == 1_600 and not read[1_000:].any()


def test_wav_folder_through_the_front_end(tmp_path: Path) -> None:
    for index in range(8):
        for name, hertz in (("low", 300), ("high", 2_500)):
            write_wav(tmp_path / "speech" / name / f"{index}.wav", tone(hertz + index, seed=index))
    write_wav(tmp_path / "speech" / "_background_noise_" / "long.wav", tone(50, 60_000))
    dataset = load_dataset(str(tmp_path / "speech"))
    assert dataset.kind == "audio" and dataset.classes == ("high", "low") and dataset.input_shape == (49, 10, 1)
    assert [len(samples) for samples in dataset.parts.values()] == [10, 2, 4] and "MLPerf" in dataset.normalization.front_end
    expected = dataset.normalization.apply(mfcc(np.stack([tone(300 + index, seed=index) for index in range(8)])))[..., None]
    low = np.concatenate([samples.x[samples.y == 1] for samples in dataset.parts.values()])
    assert all(any(np.array_equal(one, other) for other in low) for one in expected)
    assert load_dataset(f"{tmp_path}/speech?seconds=1.5").input_shape == (frame_count(24_000), 10, 1)


def test_no_speaker_is_in_two_parts(tmp_path: Path) -> None:
    for speaker in range(24):
        for take in range(2):
            for name, hertz in (("no", 400), ("yes", 900)):
                write_wav(tmp_path / name / f"{speaker:08x}_nohash_{take}.wav", tone(hertz + 10 * speaker, 1_600, seed=speaker))
    dataset = load_dataset(f"{tmp_path}?seconds=0.1")
    assert any("by speaker" in note for note in dataset.notes)
    assert all(len(samples) for samples in dataset.parts.values())
    # both takes of a speaker are the same recording here, so a speaker in two parts would show up as a duplicate
    assert duplicates(dataset) == {"train-validation": 0, "train-test": 0, "validation-test": 0}


def test_lists_of_speech_commands_are_followed(tmp_path: Path) -> None:
    for index in range(6):
        for name in ("no", "yes"):
            write_wav(tmp_path / name / f"{index}.wav", tone(200 + 100 * index, 1_600, seed=index))
    (tmp_path / "validation_list.txt").write_text("no/0.wav\nyes/1.wav\n")
    (tmp_path / "testing_list.txt").write_text("no/2.wav\nyes/2.wav\nyes/3.wav\n")
    dataset = load_dataset(f"{tmp_path}?seconds=0.1")
    assert [len(samples) for samples in dataset.parts.values()] == [7, 2, 3] and dataset.test.y.tolist() == [0, 1, 1]
