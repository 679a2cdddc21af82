"""Every example runs, in its quick mode, as a user would run it."""

from __future__ import annotations

import os
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
from tools import require_tool

from edgecompress.data import idx

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
SHARED = ROOT.parent / "shared" / "data"


def run(folder: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, str(EXAMPLES / name), *arguments], cwd=folder, env=environment, capture_output=True, text=True)


def test_every_example_is_run_here() -> None:
    text = Path(__file__).read_text()
    names = {path.name for path in EXAMPLES.glob("*.py")}
    assert names == {"gnss_interference.py", "keyword_spotting.py", "fashion.py"} and all(f'"{name}"' in text for name in names)


def test_gnss_interference_from_the_simulator_to_the_core(tmp_path: Path) -> None:
    result = run(tmp_path, "gnss_interference.py", "--quick", "--output", "firmware")
    assert result.returncode == 0, result.stderr
    rows = {line.strip().split("  ")[0]: line for line in result.stdout.splitlines()}
    assert rows["equals the reference"].split()[-2:] == ["yes", "yes"] and "emulated core equal to the reference" in result.stdout
    before, after = (int(cell.replace(",", "")) for cell in rows["parameters"].split()[1:3])
    assert after <= 0.2 * before
    by_jnr = [line for line in result.stdout.splitlines() if line.split()[1:2] == ["to"] or line.strip().startswith("no interference")]
    assert len(by_jnr) == 8 and sum(int(line.split()[-1]) for line in by_jnr) == 70
    for name in ("baseline", "pruned", "control"):
        assert (tmp_path / "firmware" / "0" / name / "manifest.json").is_file()


def test_a_wrong_target_is_one_sentence(tmp_path: Path) -> None:
    result = run(tmp_path, "gnss_interference.py", "--quick", "--target", "cortex-m77")
    assert result.returncode == 2 and result.stderr.splitlines()[-1].startswith("error: unknown target 'cortex-m77'. Did you mean 'cortex-m7'?")
    assert "Traceback" not in result.stderr


def write_wavs(folder: Path) -> Path:
    """Half-second tones and noise as "words", named as Speech Commands names its clips."""
    generator = np.random.default_rng(4)
    for word, hertz in (("low", 300.0), ("high", 2500.0), ("noise", 0.0)):
        (folder / word).mkdir(parents=True)
        for clip in range(40):
            time = np.arange(8000) / 16_000
            sound = np.sin(2 * np.pi * hertz * (1 + 0.1 * generator.random()) * time) if hertz else generator.normal(0, 0.3, len(time))
            samples = (12_000 * (0.8 * sound + generator.normal(0, 0.05, len(time)))).clip(-32_768, 32_767).astype("<i2")
            with wave.open(str(folder / word / f"{clip}.wav"), "wb") as stream:
                stream.setparams((1, 2, 16_000, 0, "NONE", ""))
                stream.writeframes(samples.tobytes())
    return folder


def test_keyword_spotting_from_wav_files(tmp_path: Path) -> None:
    result = run(tmp_path, "keyword_spotting.py", str(write_wavs(tmp_path / "words")), "--quick")
    assert result.returncode == 0, result.stderr
    assert "equals the reference; 0 of 10 test clips differ" in result.stdout and "budget          kept" in result.stdout
    assert (tmp_path / "runs" / "keywords" / "report.html").is_file()


def test_keyword_spotting_says_where_recordings_come_from(tmp_path: Path) -> None:
    result = run(tmp_path, "keyword_spotting.py", "speech_commands/", "--quick")
    assert result.returncode == 2 and "there is no data file or folder 'speech_commands/'" in result.stderr
    assert "speech_commands_v0.02.tar.gz" in result.stderr and "Traceback" not in result.stderr


def fashion_sample(folder: Path) -> str:
    """A small part of Fashion-MNIST as a spec: from Debian's package, else from the shared data."""
    if idx.find_fashion_mnist() is not None:
        return "fashion-mnist?train=1000&test=200"
    shared = SHARED / "images" / "fashion_mnist_12k_3k.npz"
    require_tool("shared-data", shared.is_file())
    with np.load(shared) as archive:
        np.savez(folder / "fashion.npz", x_train=archive["x_train"][:1000], y_train=archive["y_train"][:1000],
                 x_test=archive["x_test"][:200], y_test=archive["y_test"][:200])
    return str(folder / "fashion.npz")


def test_fashion_under_a_budget(tmp_path: Path) -> None:
    result = run(tmp_path, "fashion.py", "--quick", "--data", fashion_sample(tmp_path))
    assert result.returncode == 0, result.stderr
    assert "on 200 test images" in result.stdout and "limits 5ms, 16KiB, 48KiB: kept" in result.stdout
    assert "0 of 10 outputs of the emulated core differ" in result.stdout and (tmp_path / "runs" / "fashion" / "report.html").is_file()
