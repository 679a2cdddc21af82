"""TFLite models that remember: LSTM, SVDF and resource variables, against tflite-micro over streams, and what is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from host_build import build
from host_build import run as run_program
from tools import require_tool

from edgecompress.bench import run_frames
from edgecompress.errors import ModelError
from edgecompress.frontend.tflite import load_tflite
from edgecompress.hw.target import load_target
from edgecompress.ir.graph import QuantizedGraph
from edgecompress.ir.reference import run_all
from edgecompress.ir.sigmoid16 import sigmoid16, tanh16
from edgecompress.lower import lower

AVAILABLE = find_spec("tflite_micro") is not None
if AVAILABLE:
    import tflite_writer
    from tflite_cases import MAKERS, Case
    from tflite_files import File, interpret, packed, schema, unpacked
    from tflite_micro import runtime

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
MODELS = ("tflm_trained_lstm_int8", "tflm_dtln_noise_suppression", "mww_okay_nabu_v2", "mww_vad")
STEPS = 60
REMEMBERING = ("slice", "transpose", "delay_line", "lstm", "svdf")


@pytest.fixture(autouse=True)
def _interpreter() -> None:
    require_tool("tflite-micro", AVAILABLE)


def loaded(data: bytes) -> QuantizedGraph:
    graph = load_tflite(data, "model")
    assert isinstance(graph, QuantizedGraph)
    return graph


def model_bytes(name: str) -> bytes:
    path = SHARED / "models" / "tflite" / f"{name}.tflite"
    require_tool("shared-data", path.is_file())
    return path.read_bytes()


def stream(shape: tuple[int, ...], steps: int = STEPS) -> np.ndarray:
    """Smooth ups and downs with noise, from all-low to all-high: steps that differ, but hang together as sound does."""
    generator = np.random.default_rng(3)
    swing = np.sin(np.arange(steps) * 0.7)[:, None] * np.cos(np.arange(int(np.prod(shape))) * 0.3)
    values = 100 * swing + 40 * generator.standard_normal(swing.shape)
    values[0], values[1] = -128, 127
    return np.clip(np.rint(values), -128, 127).astype(np.int8).reshape(steps, *shape)


@pytest.mark.parametrize("name", MODELS)
def test_every_tensor_of_a_model_equals_tflite_micro_over_a_stream(name: str) -> None:
    data = model_bytes(name)
    graph = loaded(data)
    x = stream(graph.tensors[graph.inputs[0]].shape)
    ours = run_all(graph, {graph.inputs[0]: x})
    tensors = unpacked(data).subgraphs[0].tensors
    watched = {tensor.name.decode(): index for index, tensor in enumerate(tensors)
               if tensor.name.decode() in ours and tensor.type == schema.TensorType.INT8}
    interpreter = runtime.Interpreter.from_bytes(data, intrepreter_config=runtime.InterpreterConfig.kPreserveAllTensors)
    for step, sample in enumerate(x):
        interpreter.set_input(sample.reshape(interpreter.get_input_details(0)["shape"]), 0)
        interpreter.invoke()
        for tensor, index in watched.items():
            theirs = np.array(interpreter.GetTensor(index, 0)["tensor_data"])
            np.testing.assert_array_equal(ours[tensor][step], theirs.reshape(ours[tensor][step].shape), err_msg=f"{tensor}, step {step}")
    assert len(watched) >= 4
    assert max(np.unique(ours[tensor]).size for tensor in watched) > 200


def test_every_svdf_of_the_keyword_model_equals_tflite_micro_over_a_stream() -> None:
    """Its int16 input is quantized to int8 first, which our graph leaves to the caller: both get what tflite-micro made of it."""
    data = model_bytes("tflm_keyword_scrambled")
    graph = loaded(data)
    file = unpacked(data).subgraphs[0]
    quantized = int(file.operators[0].outputs[0])
    watched = {f"tensor_{index}": index for index, tensor in enumerate(file.tensors)
               if f"tensor_{index}" in graph.tensors and tensor.type == schema.TensorType.INT8 and index != quantized}
    interpreter = runtime.Interpreter.from_bytes(data, intrepreter_config=runtime.InterpreterConfig.kPreserveAllTensors)
    x, theirs = [], []
    for sample in np.random.default_rng(2).integers(-(2**15), 2**15, (STEPS, 1, 96)).astype(np.int16):
        interpreter.set_input(sample, 0)
        interpreter.invoke()
        x.append(np.array(interpreter.GetTensor(quantized, 0)["tensor_data"]).reshape(96).astype(np.int8))
        theirs.append({name: np.array(interpreter.GetTensor(index, 0)["tensor_data"]).ravel() for name, index in watched.items()})
    ours = run_all(graph, {graph.inputs[0]: np.stack(x)})
    assert sum(node.op.kind == "svdf" for node in graph.nodes) == 7 and len(watched) >= 11
    for step, expected in enumerate(theirs):
        for name, values in expected.items():
            np.testing.assert_array_equal(ours[name][step].ravel(), values, err_msg=f"{name}, step {step}")


@pytest.mark.parametrize("name", MODELS)
def test_the_c_of_a_model_equals_the_reference_on_this_machine_and_on_a_core(name: str, tmp_path: Path) -> None:
    graph = loaded(model_bytes(name))
    (source,), (output,) = graph.inputs, graph.outputs
    x = stream(graph.tensors[source].shape)
    expected = run_all(graph, {source: x})[output]
    (tmp_path / "host").mkdir()
    program = build(tmp_path / "host", [(graph, lower(graph, load_target("host"), x))])
    for reset in (False, True):
        (got,) = run_program(program, [graph], [{source: x}], reset)
        np.testing.assert_array_equal(got[output], expected)
    lower(graph, load_target("cortex-m4"), x).write(tmp_path / "core")
    np.testing.assert_array_equal(run_frames(tmp_path / "core", x), expected)


@pytest.mark.parametrize("kind", REMEMBERING)
def test_a_file_becomes_the_op_it_was_written_from(kind: str) -> None:
    for position, make in enumerate(MAKERS[kind]):
        for seed in range(20):
            case = Case(np.random.default_rng([seed, position, *kind.encode()]))
            graph = make(case)
            read = loaded(tflite_writer.tflite_bytes(graph, case.weight_scales))
            found = [node.op for node in read.nodes if node.op.kind == kind]
            if kind == "transpose" and not found:  # only axes of size 1 moved
                x = {"a": np.random.default_rng(0).integers(-128, 128, (2, *graph.tensors["a"].shape)).astype(np.int8)}
                np.testing.assert_array_equal(run_all(read, x)[read.outputs[0]], run_all(graph, x)["y"])
                continue
            assert len(found) == 1 and {node.op.kind for node in read.nodes} <= {kind, "reshape"}
            if kind != "transpose":  # an importer may leave out axes of size 1
                assert found[0] == graph.nodes[0].op


@pytest.mark.parametrize("power", range(-15, 1))
def test_tables_equal_tflite_micro_for_every_int16(power: int) -> None:
    """LOGISTIC and TANH of int16 are computed by the table that the LSTM's gates use; with a power-of-two scale the way is the same."""
    codes = np.arange(-(2**15), 2**15).astype(np.int16).reshape(1, -1)
    for builtin, function in (("LOGISTIC", None), ("TANH", tanh16)):
        if function is None and power != -12:
            continue
        file = File()
        source = file.input(codes.shape, "int16", 2.0**power)
        data = file.data(file.operator(builtin, [source], file.tensor(codes.shape, "int16", 2.0**-15)))
        ((theirs,),) = interpret(data, [[codes]])
        if builtin == "TANH" and power < -12:
            continue  # TANH rounds finer inputs through a multiplier of its own; the LSTM's shift is checked in the LSTM
        ours = sigmoid16(codes) if function is None else function(codes, power + 12)
        np.testing.assert_array_equal(ours.astype(np.int16), theirs)


def test_parts_of_a_tensor() -> None:
    for build_file in (_split, _split_v, _unpack, _slice):
        data = build_file()
        graph = loaded(data)
        x = stream(graph.tensors[graph.inputs[0]].shape, 5)
        ours = run_all(graph, {graph.inputs[0]: x})
        for step, outputs in enumerate(interpret(data, [[sample] for sample in x])):
            for name, theirs in zip(graph.outputs, outputs, strict=True):
                np.testing.assert_array_equal(ours[name][step].reshape(theirs.shape), theirs)


def _integers(file: Any, *values: int) -> int:
    return file.constant(np.array(values, dtype=np.int32))


def _parts(file: Any, *shapes: tuple[int, ...]) -> list[int]:
    return [file.tensor(shape, "int8", 0.05, 3) for shape in shapes]


def _split() -> bytes:
    file = File()
    source, parts = file.input((1, 4, 6, 3), scale=0.05, zero_point=3), _parts(file, *[(1, 4, 2, 3)] * 3)
    file.operator("SPLIT", [file.constant(np.array(2, dtype=np.int32)), source], parts, numSplits=3)
    return file.data(*parts)


def _split_v() -> bytes:
    file = File()
    source, parts = file.input((1, 4, 6, 5), scale=0.05, zero_point=3), _parts(file, (1, 4, 6, 2), (1, 4, 6, 3))
    file.operator("SPLIT_V", [source, _integers(file, 2, 3), file.constant(np.array(3, dtype=np.int32))], parts, numSplits=2)
    return file.data(*parts)


def _unpack() -> bytes:
    file = File()
    source, parts = file.input((1, 3, 4), scale=0.05, zero_point=3), _parts(file, *[(1, 4)] * 3)
    file.operator("UNPACK", [source], parts, num=3, axis=1)
    return file.data(*parts)


def _slice() -> bytes:
    file = File()
    source = file.input((1, 4, 6, 5), scale=0.05, zero_point=3)
    (part,) = _parts(file, (1, 2, 5, 2))
    file.operator("SLICE", [source, _integers(file, 0, 1, 1, 2), _integers(file, 1, 2, -1, 2)], part)
    return file.data(part)


def refused(data: bytes, *words: str) -> None:
    """Asserts one sentence that holds all of `words`."""
    with pytest.raises(ModelError) as caught:
        load_tflite(data, "model")
    assert "\n" not in caught.value.message
    for word in words:
        assert word in caught.value.message, caught.value.message


def written(kind: str) -> Any:
    """The schema's model of a random graph of one op, to be spoiled."""
    case = Case(np.random.default_rng([5, *kind.encode()]))
    graph = MAKERS[kind][0](case)
    return unpacked(tflite_writer.tflite_bytes(graph, case.weight_scales))


def spoiled(kind: str, builtin: str, change: Callable[[Any, Any, Any], None]) -> bytes:
    """A file whose operator `builtin` was changed by `change(model, operator, tensors)`."""
    model = written(kind)
    code = getattr(schema.BuiltinOperator, builtin)
    graph = model.subgraphs[0]
    (operator,) = (one for one in graph.operators if model.operatorCodes[one.opcodeIndex].builtinCode == code)
    change(model, operator, graph.tensors)
    return packed(model)


def _set(position: int, value: int) -> Callable[[Any, Any, Any], None]:
    def change(_model: Any, operator: Any, _tensors: Any) -> None:
        inputs = [int(index) for index in operator.inputs]
        inputs[position] = inputs[0] if value == 0 else value
        operator.inputs = inputs

    return change


def _option(name: str, value: Any) -> Callable[[Any, Any, Any], None]:
    return lambda _model, operator, _tensors: setattr(operator.builtinOptions, name, value)


def _tensor(position: int, **attributes: Any) -> Callable[[Any, Any, Any], None]:
    def change(_model: Any, operator: Any, tensors: Any) -> None:
        tensor = tensors[operator.inputs[position]]
        for name, value in attributes.items():
            setattr(tensor.quantization if name in ("scale", "zeroPoint") else tensor, name, value)

    return change


def _flat(_model: Any, operator: Any, tensors: Any) -> None:
    tensor = tensors[operator.inputs[5]]
    tensor.shape = [1, int(np.prod(tensor.shape))]


@pytest.mark.parametrize(("change", "words"), [
    (_set(9, 0), "peephole"), (_set(16, 0), "projection"), (_set(20, 0), "layer normalisation"), (_set(1, -1), "CIFG"),
    (_option("fusedActivationFunction", 1), "tanh"), (_option("cellClip", -1.0), "cell clip"), (_option("cellClip", float("nan")), "cell clip"),
    (_option("cellClip", 1e-9), "cell clip"), (_tensor(19, scale=[0.0003]), "power of two"), (_tensor(19, scale=[4.0]), "power of two"),
    (_tensor(19, isVariable=False), "variable"), (_tensor(18, type=0), "int8"), (_tensor(19, type=9), "int16"),
    (_flat, "different shapes"), (_tensor(1, scale=[0.1, 0.2], zeroPoint=[0, 0]), "scales"), (_tensor(12, type=9), "int32"),
], ids=lambda value: value if isinstance(value, str) else "changed")
def test_an_lstm_that_does_not_fit_is_refused(change: Any, words: str) -> None:
    refused(spoiled("lstm", "UNIDIRECTIONAL_SEQUENCE_LSTM", change), "UNIDIRECTIONAL_SEQUENCE_LSTM", words)


@pytest.mark.parametrize(("change", "words"), [
    (_option("rank", 0), "rank"), (_option("rank", 1000), "rank"), (_option("fusedActivationFunction", 3), "RELU"),
    (_tensor(4, zeroPoint=[5]), "zero point 5"), (_tensor(4, isVariable=False), "variable"), (_tensor(2, type=2), "time weights"),
    (_tensor(2, zeroPoint=[1]), "zero point 0"), (_tensor(4, scale=[0.0]), "state"),
], ids=lambda value: value if isinstance(value, str) else "changed")
def test_an_svdf_that_does_not_fit_is_refused(change: Any, words: str) -> None:
    refused(spoiled("svdf", "SVDF", change), "SVDF", words)


def _drop(builtin: str) -> Callable[[Any, Any, Any], None]:
    def change(model: Any, _operator: Any, _tensors: Any) -> None:
        code = getattr(schema.BuiltinOperator, builtin)
        graph = model.subgraphs[0]
        graph.operators = [one for one in graph.operators if model.operatorCodes[one.opcodeIndex].builtinCode != code]

    return change


def _twice(model: Any, operator: Any, tensors: Any) -> None:
    second = copy.deepcopy(operator)
    for position, index in enumerate(operator.outputs):
        tensors.append(copy.deepcopy(tensors[index]))
        tensors[-1].name += b"_again"
        second.outputs[position] = len(tensors) - 1
    operators = model.subgraphs[0].operators
    operators.insert(operators.index(operator), second)
    model.subgraphs[0].outputs = [*model.subgraphs[0].outputs, *second.outputs]


def _start(change: Callable[[Any], None]) -> Callable[[Any, Any, Any], None]:
    return lambda model, _operator, _tensors: change(model.subgraphs[1])


def _also_an_output(model: Any, operator: Any, _tensors: Any) -> None:
    model.subgraphs[0].outputs = [*model.subgraphs[0].outputs, operator.outputs[0]]


def _other_begin(model: Any, operator: Any, tensors: Any) -> None:
    begin = tensors[operator.inputs[1]]
    values = np.frombuffer(bytes(model.buffers[begin.buffer].data), dtype=np.int32).copy()
    values[1] -= 1
    model.buffers[begin.buffer].data = np.frombuffer(values.tobytes(), dtype=np.uint8)


def _backwards(_model: Any, operator: Any, _tensors: Any) -> None:
    operator.inputs = [int(index) for index in reversed(operator.inputs)]


@pytest.mark.parametrize(("builtin", "change", "words"), [
    ("READ_VARIABLE", _drop("CALL_ONCE"), "no first value"),
    ("READ_VARIABLE", _drop("ASSIGN_VARIABLE"), "nothing assigns"),
    ("READ_VARIABLE", _drop("VAR_HANDLE"), "no VAR_HANDLE makes"),
    ("READ_VARIABLE", _twice, "a second time"),
    ("READ_VARIABLE", _also_an_output, "READ_VARIABLE"),
    ("ASSIGN_VARIABLE", _twice, "a second time"),
    ("CALL_ONCE", _option("initSubgraphIndex", 7), "subgraph 7"),
    ("CALL_ONCE", _option("initSubgraphIndex", 0), "subgraph 0"),
    ("CALL_ONCE", _start(lambda graph: setattr(graph.tensors[1], "type", 0)), "bytes of data"),
    ("CALL_ONCE", _start(lambda graph: setattr(graph.tensors[1], "buffer", 0)), "not an int8 constant"),
    ("CALL_ONCE", _start(lambda graph: setattr(graph.operators[1], "opcodeIndex", 5)), "runs CONCATENATION at the start"),
    ("CALL_ONCE", _start(lambda graph: setattr(graph.tensors[1], "shape", graph.tensors[1].shape[::-1])), "CONCATENATION"),
    ("STRIDED_SLICE", _other_begin, "something else than the last"),
    ("CONCATENATION", _backwards, "gives variable"),
    ("CONCATENATION", _option("fusedActivationFunction", 1), "fused activation"),
    ("CONCATENATION", _option("axis", -1), "CONCATENATION"),
])
def test_a_variable_that_is_no_delay_line_is_refused(builtin: str, change: Any, words: str) -> None:
    refused(spoiled("delay_line", builtin, change), words)


@pytest.mark.parametrize(("make", "change", "words"), [
    (_split, lambda file: setattr(file.subgraphs[0].tensors[1], "shape", [1, 4, 3, 3]), "inconsistent"),
    (_split_v, lambda file: setattr(file.buffers[1], "data", np.frombuffer(np.array([2, 9], np.int32).tobytes(), np.uint8)), "must add up"),
    (_split_v, lambda file: setattr(file.buffers[2], "data", np.frombuffer(np.array([0], np.int32).tobytes(), np.uint8)), "batch axis"),
    (_split_v, lambda file: setattr(file.buffers[2], "data", np.frombuffer(np.array([9], np.int32).tobytes(), np.uint8)), "axis 9"),
    (_unpack, lambda file: setattr(file.subgraphs[0].operators[0].builtinOptions, "axis", 2), "unpacks axis 2"),
    (_slice, lambda file: setattr(file.buffers[1], "data", np.frombuffer(np.array([0, 4, 1, 2], np.int32).tobytes(), np.uint8)), "leaves an input"),
    (_slice, lambda file: setattr(file.subgraphs[0].tensors[0].quantization, "scale", [0.7]), "scale"),
], ids=lambda value: getattr(value, "__name__", None))
def test_parts_that_do_not_fit_are_refused(make: Callable[[], bytes], change: Callable[[Any], None], words: str) -> None:
    model = unpacked(make())
    change(model)
    refused(packed(model), words)
