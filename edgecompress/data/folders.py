"""Folders of samples by class: `folder/class/file`, or `folder/train|val|test/class/file`. Listing only; readers are elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgecompress.data.raw import POOL, Array, RawPart
from edgecompress.errors import DataError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp"})
AUDIO_SUFFIXES = frozenset({".wav"})
_PART_FOLDERS = {
    "train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test", "testing": "test",
}
_LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
_TEST_PERCENT, _VALIDATION_PERCENT = 25, 15


@dataclass(frozen=True)
class FolderListing:
    """Files and class numbers by part ("pool" when nothing says how to split), classes by name, what was noticed."""

    files: Mapping[str, tuple[Path, ...]]
    labels: Mapping[str, tuple[int, ...]]
    classes: tuple[str, ...]
    suffixes: frozenset[str]
    notes: tuple[str, ...]

    @property
    def everything(self) -> list[Path]:
        """All files, part after part."""
        return [path for paths in self.files.values() for path in paths]


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"folder '{folder}' cannot be read: {error.strerror or error}") from None


def _class_folders(folder: Path) -> list[Path]:
    # Speech Commands keeps minutes-long noise recordings beside its classes
    return [entry for entry in _visible(folder) if entry.is_dir() and entry.name != "_background_noise_"]


def _roots(folder: Path) -> dict[str, Path]:
    inside = _class_folders(folder)
    named = {_PART_FOLDERS[entry.name.lower()]: entry for entry in inside if entry.name.lower() in _PART_FOLDERS}
    if "train" not in named:
        return {POOL: folder}
    others = [entry.name for entry in inside if entry.name.lower() not in _PART_FOLDERS]
    if others:
        raise DataError(f"'{folder}' has 'train' beside '{others[0]}'; either parts (train, val, test) or classes lie in one folder, not both")
    if "test" not in named:
        raise DataError(f"'{folder}' has a 'train' folder but no 'test' folder")
    return named


def list_folder(folder: Path) -> FolderListing:
    """What lies in a folder by class. Raises DataError for an empty one, or one that mixes images and audio."""
    files: dict[str, list[Path]] = {}
    names: dict[str, list[str]] = {}
    ignored = 0
    for part, root in _roots(folder).items():
        files[part], names[part] = [], []
        for class_folder in _class_folders(root):
            for path in _visible(class_folder):
                known = path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES | AUDIO_SUFFIXES
                ignored += not known
                if known:
                    files[part].append(path)
                    names[part].append(class_folder.name)
    suffixes = frozenset(path.suffix.lower() for paths in files.values() for path in paths)
    if not suffixes:
        raise DataError(
            f"'{folder}' holds no samples: expected '{folder}/<class>/*.png' (jpg, jpeg, bmp, wav), or the same inside train, val and test folders"
        )
    if suffixes & IMAGE_SUFFIXES and suffixes & AUDIO_SUFFIXES:
        raise DataError(f"'{folder}' mixes images and wav files; keep one kind a data set")
    classes = tuple(sorted({name for part in names.values() for name in part}))
    number = {name: index for index, name in enumerate(classes)}
    notes = (f"{ignored} files or folders inside the class folders were ignored: not png, jpg, jpeg, bmp or wav",) if ignored else ()
    listing = FolderListing(
        {part: tuple(paths) for part, paths in files.items()},
        {part: tuple(number[name] for name in part_names) for part, part_names in names.items()}, classes, suffixes, notes,
    )
    return _split_speech(folder, listing) if suffixes <= AUDIO_SUFFIXES and POOL in files else listing


def _split_speech(folder: Path, listing: FolderListing) -> FolderListing:
    """Speech Commands' own lists when they are there, else by speaker when file names tell the speaker, so that no voice is in two parts."""
    paths, labels = listing.files[POOL], listing.labels[POOL]
    if all((folder / name).is_file() for name in _LISTS.values()):
        members = {part: _read_list(folder / name) for part, name in _LISTS.items()}
        chosen = [next((part for part, names in members.items() if f"{path.parent.name}/{path.name}" in names), "train") for path in paths]
        note = "parts follow validation_list.txt and testing_list.txt"
    elif all("_nohash_" in path.name for path in paths):
        chosen = [_part_of_speaker(path.name.split("_nohash_")[0]) for path in paths]
        note = "parts are split by speaker (the file name before '_nohash_')"
    else:
        return listing
    rows = {part: [row for row, choice in enumerate(chosen) if choice == part] for part in ("train", "validation", "test")}
    if not rows["validation"]:
        del rows["validation"]  # one is split off the training part instead
    return FolderListing(
        {part: tuple(paths[row] for row in picked) for part, picked in rows.items()},
        {part: tuple(labels[row] for row in picked) for part, picked in rows.items()},
        listing.classes, listing.suffixes, (*listing.notes, note),
    )


def _read_list(path: Path) -> frozenset[str]:
    try:
        return frozenset(path.read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"'{path}' cannot be read: {error}") from None


def _part_of_speaker(speaker: str) -> str:
    percent = int.from_bytes(hashlib.sha1(speaker.encode(), usedforsecurity=False).digest()[:8], "big") % 100
    if percent < _TEST_PERCENT:
        return "test"
    return "validation" if percent < _TEST_PERCENT + _VALIDATION_PERCENT else "train"


def read_parts(listing: FolderListing, read: Callable[[Sequence[Path]], Array]) -> dict[str, RawPart]:
    """The listing's parts with the files of each turned into one array by `read`."""
    return {
        part: RawPart(read(paths), np.array(listing.labels[part], dtype=np.int64), f"the {part} samples", f"the {part} labels")
        for part, paths in listing.files.items()
    }
