"""`edgecompress lower` with models and data from elsewhere: a wrong word is one sentence and exit code 2, nothing is overwritten, JSON is JSON."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from graph_cases import Builder, small_network
from sequence_cases import delay_line
from tools import require_tool

from edgecompress.cli.main import main
from edgecompress.cli.model_input import samples
from edgecompress.cli.output import print_table
from edgecompress.compress.quantize.evaluate import accuracy_float, accuracy_int8
from edgecompress.compress.quantize.static import QuantizeConfig, quantize
from edgecompress.errors import DataError, ExitCode
from edgecompress.frontend.float_graph import FloatGraph
from edgecompress.frontend.model_file import load_model
from edgecompress.ir import serialize

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
SHAPE = (8, 6, 3)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models and files: float.tflite, int8/ and pair/ (graphs), and arrays good and bad."""
    require_tool("tflite-micro", find_spec("tflite_micro") is not None)
    from tflite_files import File

    folder, random = tmp_path_factory.mktemp("cli"), np.random.default_rng(0)
    file = File()
    x, y = file.input((1, *SHAPE), "float32"), file.tensor((1, 8, 6, 4), "float32")
    file.operator("CONV_2D", [x, file.constant(random.normal(size=(4, 3, 3, 3)).astype(np.float32)), file.constant(np.zeros(4, np.float32))], y,
                  strideW=1, strideH=1, fusedActivationFunction=1)
    z = file.tensor((1, 5), "float32")
    file.operator("FULLY_CONNECTED", [y, file.constant(random.normal(size=(5, 192)).astype(np.float32)), -1], z)
    (folder / "float.tflite").write_bytes(file.data(z))
    for name, graph in (("int8", small_network()), ("pair", _pair())):
        (folder / name).mkdir()
        serialize.save(graph, folder / name / "graph.json")
    good = random.normal(size=(40, *SHAPE)).astype(np.float32)
    arrays = {"good": good, "turned": good.transpose(0, 3, 1, 2), "flat": good.reshape(40, -1), "none": good[:0], "number": np.array(3.0),
              "words": np.array(["a", "b"]), "truth": good > 0, "complex": good + 1j, "nan": np.full_like(good, np.nan),
              "huge": good.astype(float) * 1e300, "objects": np.array([1, "a", None], dtype=object),
              "integers": np.zeros((3, *SHAPE), np.uint8), "small": random.normal(size=(3, 6, 5, 2))}
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)
    np.savez(folder / "two.npz", a=good, b=np.zeros(3))
    np.savez(folder / "one.npz", a=good)
    np.savez(folder / "empty.npz")
    np.savez(folder / "objects.npz", a=arrays["objects"])
    (folder / "cut.npy").write_bytes((folder / "good.npy").read_bytes()[:500])
    (folder / "cut.npz").write_bytes((folder / "one.npz").read_bytes()[:500])
    (folder / "text.npy").write_text("hello")
    (folder / "folder.npy").mkdir()
    return folder


def _pair() -> object:
    b = Builder(3)
    x = b.sum(b.input(6, 5, 2), b.input(6, 5, 2))
    return b.graph("pair", b.conv(x, 4, 3), b.depthwise(x))


Lower = Callable[..., tuple[int, str, str]]


@pytest.fixture
def lower(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Lower:
    """Runs the verb inside the folder, into `out`; (exit code, stdout, stderr)."""
    monkeypatch.chdir(here)

    def run(*words: str, output: str = str(tmp_path / "out")) -> tuple[int, str, str]:
        try:
            code = main(["lower", *words, "-o", output])
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


WRONG = [
    ("float.tflite", "say how to run it"),
    ("float.tflite --float --calibrate good.npy", "not allowed with"),
    ("float.tflite --calibrate missing.npy", "No such file"),
    ("float.tflite --calibrate unknown", "unknown data set"),
    ("float.tflite --calibrate ''", "empty text"),
    ("float.tflite --calibrate turned.npy", "(3, 8, 6)"),
    ("float.tflite --calibrate turned.npy", "numpy.transpose(samples, (0, 2, 3, 1))"),
    ("float.tflite --calibrate flat.npy", "(144,)"),
    ("float.tflite --calibrate digits", "(8, 8, 1)"),
    ("float.tflite --calibrate none.npy", "at least one sample"),
    ("float.tflite --calibrate number.npy", "at least one sample"),
    ("float.tflite --calibrate words.npy", "finite numbers"),
    ("float.tflite --calibrate truth.npy", "finite numbers"),
    ("float.tflite --calibrate complex.npy", "finite numbers"),
    ("float.tflite --calibrate nan.npy", "finite numbers"),
    ("float.tflite --calibrate huge.npy", "float32 does not"),
    ("float.tflite --calibrate objects.npy", "Python objects"),
    ("float.tflite --calibrate objects.npz", "Python objects"),
    ("float.tflite --calibrate text.npy", "no NumPy file"),
    ("float.tflite --calibrate cut.npy", "cannot be read"),
    ("float.tflite --calibrate cut.npz", "cannot be read"),
    ("float.tflite --calibrate folder.npy", "Is a directory"),
    ("float.tflite --calibrate empty.npz", "holds no array"),
    ("float.tflite --calibrate two.npz", "two.npz?x=a"),
    ("float.tflite --calibrate two.npz?x=c", "c is not a file"),
    ("float.tflite --calibrate two.npz?x", "not understood"),
    ("float.tflite --calibrate two.npz?part=a", "not understood"),
    ("float.tflite --calibrate good.npy?x=a", "not understood"),
    ("float.tflite --bits 4", "--bits does nothing without --calibrate"),
    ("float.tflite --float --bits 4", "--bits does nothing without --calibrate"),
    ("float.tflite --calibrate good.npy --bits 3", "invalid choice"),
    ("float.tflite --float --target cortex-m3", "no FPU"),
    ("float.tflite --float --outputs nothing", "'nothing'"),
    ("float.tflite --float --outputs ,", "names no tensor"),
    ("float.tflite --float --input-shape 3x4", "does nothing"),
    ("float.tflite --float --input-shape 3xx", "whole numbers"),
    ("int8 --bits 8", "--bits does nothing"),
    ("int8 --calibrate good.npy", "is for float models"),
    ("int8 --float", "is for float models"),
    ("int8 --outputs t1", "does nothing"),
    ("int8 --data missing.npy", "No such file"),
    ("int8 --data good.npy", "(8, 6, 3)"),
    ("int8 --data ''", "empty text"),
    ("int8 --vectors 5", "--vectors does nothing without --data"),
    ("int8 --data small.npy --vectors 0", "at least 1"),
    ("int8 --vectors many", "invalid int"),
    ("pair --data good.npy", "models of one input"),
    ("int8 --target nowhere", "unknown target"),
    ("int8 --target none.toml", "no target file"),
    ("int8 --ram nonsense", "is not a size"),
    ("int8 --ram -5", "is not a size"),
    ("int8 --ram 0", "at least 1 byte"),
    ("int8 --ram 1.5", "whole number of bytes"),
    ("int8 --ram 1e400KiB", "too large"),
    ("int8 --io heap", "invalid choice"),
    ("int8 --weights-section 'a b'", "section name"),
    ("int8 --weights-section .x --arena-section .x", "cannot share"),
    ("int8 --weights-section-over 4KiB", "--weights-section-over does nothing"),
    ("int8 --weights-section .x --weights-section-over much", "is not a size"),
    ("int8 --format xml", "invalid choice"),
    ("missing.tflite", "no model file"),
    ("good.npy", "not a model"),
    (".", "no model file"),
]


@pytest.mark.parametrize(("words", "part"), WRONG)
def test_wrong_words_are_one_sentence(words: str, part: str, lower: Lower, tmp_path: Path) -> None:
    code, out, err = lower(*shlex.split(words))
    assert code == ExitCode.USAGE and out == ""
    assert err.startswith("error: ") and "Traceback" not in err and part in err, err
    assert not (tmp_path / "out").exists()


def test_a_ram_limit_out_of_reach_is_a_no(lower: Lower, tmp_path: Path) -> None:
    code, _, err = lower("int8", "--ram", "10")
    assert code == ExitCode.ANSWER_IS_NO and "needs" in err and "limit" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [
    "float.tflite --float", "float.tflite --float --io arena", "float.tflite --float --data good.npy --vectors 3",
    "float.tflite --calibrate good.npy", "float.tflite --calibrate one.npz --bits 4", "float.tflite --calibrate integers.npy",
    "float.tflite --calibrate two.npz?x=a --bits 2 --data good.npy", "int8 --ram 9999GiB", "int8 --data small.npy", "pair --io arena", "pair",
    "int8 --weights-section .x --weights-section-over 0 --arena-section .y"])
def test_right_words_give_one_document(words: str, lower: Lower, tmp_path: Path) -> None:
    code, out, _ = lower(*words.split(), "--format", "json")
    assert code == ExitCode.DONE
    document = json.loads(out)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert document["graph_hash"] == manifest["graph_hash"] and document["arena_bytes"] == manifest["arena_bytes"]
    assert (document["calibration_sqnr_db"] is not None) == ("--calibrate" in words)


def test_nothing_is_overwritten_unasked(lower: Lower, tmp_path: Path) -> None:
    assert lower("int8")[0] == ExitCode.DONE
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    code, _, err = lower("float.tflite", "--float")
    assert code == ExitCode.USAGE and "already holds an artifact" in err
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    (tmp_path / "out" / "notes.txt").write_text("mine")
    assert "notes.txt" in lower("float.tflite", "--float", "--overwrite")[2]
    (tmp_path / "out" / "notes.txt").unlink()
    assert lower("float.tflite", "--float", "--overwrite")[0] == ExitCode.DONE
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    assert lower("int8", "--overwrite", output=str(tmp_path / "mine"))[0] == ExitCode.USAGE
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    for folder in ("float.tflite", "float.tflite/x", "int8"):
        assert lower("int8", "--overwrite", output=folder)[0] == ExitCode.USAGE
    assert load_model(Path("float.tflite")).name == "float" and load_model(Path("int8")).name == "small net"


def test_a_model_that_quantization_ruins_is_called_so(lower: Lower) -> None:
    assert "little of the float model is left" not in lower("float.tflite", "--calibrate", "good.npy")[1]
    assert "little of the float model is left" in lower("float.tflite", "--calibrate", "good.npy", "--bits", "2", "--overwrite")[1]


def test_samples_come_from_all_over_the_file_and_streams_from_its_start(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(100.0).reshape(100, 1))
    path = str(tmp_path / "x.npy")
    assert samples(path, (1,), False, "train", 5)[0].ravel().tolist() == [0, 20, 40, 60, 80]
    assert samples(path, (1,), False, "train", 5, stream=True)[0].ravel().tolist() == [0, 1, 2, 3, 4]
    assert samples(path, (1,), False, "train", 500)[1] == "100 x.npy"


@pytest.mark.parametrize(("given", "wanted"), [
    ((49, 10), (49, 10, 1)), ((49, 10, 1), (49, 10)), ((490,), (49, 10, 1)), ((8, 6, 3), (144,)), ((), (1,)), ((1, 16), (16,))])
def test_shapes_that_can_only_mean_one_thing_fit(given: tuple[int, ...], wanted: tuple[int, ...], tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, *given)))
    assert samples(str(tmp_path / "x.npy"), wanted, False, "train", 2)[0].shape == (2, *wanted)


@pytest.mark.parametrize(("given", "wanted"), [
    ((10, 49), (49, 10, 1)), ((3, 8, 8), (8, 8, 3)), ((192,), (8, 8, 3)), ((49, 9), (49, 10, 1)), ((), (2,))])
def test_other_shapes_are_not_guessed(given: tuple[int, ...], wanted: tuple[int, ...], tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, *given)))
    with pytest.raises(DataError, match="the model's input has"):
        samples(str(tmp_path / "x.npy"), wanted, False, "train", 2)


def test_vectors_of_a_stream_are_consecutive(lower: Lower, tmp_path: Path) -> None:
    b = Builder(1)
    graph = b.graph("stream", b.add(delay_line("line", 2, (1, 3))[1], b.input(1, 3)))
    (tmp_path / "stream").mkdir()
    serialize.save(graph, tmp_path / "stream" / "graph.json")
    values = np.arange(60.0).reshape(20, 1, 3) / 20
    np.save(tmp_path / "steps.npy", values)
    assert lower(str(tmp_path / "stream"), "--data", str(tmp_path / "steps.npy"), "--vectors", "4")[0] == ExitCode.DONE
    with np.load(tmp_path / "out" / "vectors.npz") as vectors:
        np.testing.assert_array_equal(vectors["inputs"], graph.tensors["x0"].quantize(values[:4]))


class _Clips:
    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        self.x, self.y = x, y


@pytest.mark.parametrize(("bits", "loss"), [(8, 0.01), (4, 0.08)])
def test_calibrated_keyword_model_keeps_its_accuracy(bits: int, loss: float) -> None:
    path = SHARED / "audio" / "speech_commands12_features.npz"
    require_tool("shared-data", path.is_file())
    with np.load(path) as file:
        clips, labels, split = file["mfcc_f16"].astype(np.float32)[..., None], file["labels"].astype(np.int64), file["split"]
    train, test = clips[split == 0], _Clips(clips[split == 2][::3], labels[split == 2][::3])
    graph = load_model(SHARED / "mlperf_tiny" / "kws_ref_model_float32.tflite")
    assert isinstance(graph, FloatGraph)
    calibrated = quantize(graph, train[np.arange(512) * len(train) // 512], QuantizeConfig(weight_bits=bits))
    assert accuracy_int8(calibrated, test.x, test.y) > accuracy_float(graph, test) - loss > 0.8


def test_the_next_command_finds_a_chip_that_only_its_path_leads_to(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # short paths, which the table does not wrap
    Path("my chip.toml").write_text('base = "cortex-m4"\ndescription = "x"\nsource = "this test"\n')
    assert main(["lower", str(here / "int8"), "--target", "my chip.toml", "-o", "out"]) == ExitCode.DONE
    shown = capsys.readouterr().out
    words = shlex.split(shown[shown.index("edgecompress bench"):])
    assert words[:5] == ["edgecompress", "bench", "out", "--target", "my chip.toml"]


def test_names_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name", "size"), [("a\nb\x1b[2Jc\u202e", 1)])
    shown = capsys.readouterr().out
    assert "a\\nb\\x1b[2Jc\\u202e" in shown and "\x1b" not in shown
