"""A folder of 16 kHz wav files by class, through the MLPerf Tiny front end."""

from __future__ import annotations

import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgecompress.data import mfcc
from edgecompress.data.folders import FolderListing, read_parts
from edgecompress.data.raw import Array, Options, RawData, check_size
from edgecompress.errors import ConfigError, DataError

_FILES_AT_ONCE = 256


def read_wav(path: Path, samples: int) -> npt.NDArray[np.int16]:
    """int16 [samples] of a 16 kHz 16-bit mono PCM file, padded with silence at its end.

    Raises DataError for another format, a longer clip, an empty or a truncated file.
    """
    try:
        with wave.open(str(path), "rb") as stream:
            rate, channels, width, count = stream.getframerate(), stream.getnchannels(), stream.getsampwidth(), stream.getnframes()
            if (rate, channels, width) != (mfcc.SAMPLE_RATE, 1, 2):
                raise DataError(
                    f"'{path}' is {rate} Hz, {channels} channel(s), {8 * width} bit; {mfcc.SAMPLE_RATE} Hz, mono, 16 bit is read",
                    f"try: ffmpeg -i '{path}' -ar {mfcc.SAMPLE_RATE} -ac 1 -c:a pcm_s16le OUT.wav",
                )
            if count > samples:
                seconds = -(-count // (mfcc.SAMPLE_RATE // 10)) / 10
                raise DataError(
                    f"'{path}' is {count / mfcc.SAMPLE_RATE:.2f} s long, the data set's clips {samples / mfcc.SAMPLE_RATE:g} s",
                    f"try: longer clips with ?seconds={seconds:g}, or cut the file",
                )
            content = stream.readframes(count)
    except (wave.Error, EOFError, RuntimeError) as error:  # RuntimeError: a chunk that ends before it begins
        raise DataError(f"'{path}' is not a readable 16-bit PCM wav file: {error or 'it ends too early'}") from error
    except OSError as error:
        raise DataError(f"'{path}' cannot be read: {error.strerror or error}") from None
    if count == 0 or len(content) != 2 * count:
        raise DataError(f"'{path}' is truncated or empty: {len(content)} of {2 * count} bytes of audio are there")
    clip = np.zeros(samples, dtype=np.int16)
    clip[:count] = np.frombuffer(content, dtype="<i2")
    return clip


def read_wavs(folder: Path, listing: FolderListing, options: Options) -> RawData:
    """RawData of coefficients float32 [n, frames, 10]; option `seconds` (1 when absent) is the length of a clip.

    Raises DataError for a file of another format or a longer one.
    """
    options.only("seconds")
    seconds = options.number("seconds", 1.0)
    if not 0.05 <= seconds <= 60.0:
        raise ConfigError(f"option 'seconds' must lie between 0.05 and 60, not {seconds:g}")
    samples = round(seconds * mfcc.SAMPLE_RATE)
    frames = mfcc.frame_count(samples)
    check_size(len(listing.everything) * frames * mfcc.COEFFICIENTS, f"'{folder}'")

    def read(paths: Sequence[Path]) -> Array:
        features = np.empty((len(paths), frames, mfcc.COEFFICIENTS), dtype=np.float32)
        for start in range(0, len(paths), _FILES_AT_ONCE):
            clips = np.stack([read_wav(path, samples) for path in paths[start : start + _FILES_AT_ONCE]])
            features[start : start + _FILES_AT_ONCE] = mfcc.mfcc(clips)
        return features

    front_end = f"{seconds:g} s clips, {mfcc.DESCRIPTION}"
    return RawData(folder.resolve().name, "audio", str(folder.resolve()), front_end, read_parts(listing, read), listing.classes, listing.notes)
