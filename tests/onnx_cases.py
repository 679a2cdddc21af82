"""Small ONNX models for the importer's tests, made with onnx.helper, and the comparison with onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgecompress.frontend.float_graph import FloatGraph
from edgecompress.frontend.float_run import run_tensors
from edgecompress.frontend.onnx import load_onnx
from edgecompress.frontend.passes import prepare, prepare_float

Node = tuple[str, Sequence[str], str | Sequence[str], dict[str, Any]]


def rng(seed: int = 0) -> np.random.Generator:
    """A generator for one test."""
    return np.random.default_rng(seed)


def floats(*shape: int, seed: int = 1) -> np.ndarray:
    """Normal float32 numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def model(nodes: Sequence[Node], shape: Sequence[int | str | None], constants: Mapping[str, np.ndarray] | None = None,
          outputs: Sequence[str] = ("y",), opset: int = 17, domains: Sequence[str] = (), input_type: int = TensorProto.FLOAT) -> bytes:
    """Bytes of a model with input x and initializers; a node is (operator, inputs, outputs, attributes), an operator may be 'domain::Name'."""
    made = []
    for operator, inputs, results, attributes in nodes:
        domain, _, name = operator.rpartition("::")
        made.append(helper.make_node(name, list(inputs), [results] if isinstance(results, str) else list(results), domain=domain, **attributes))
    graph = helper.make_graph(made, "case", [helper.make_tensor_value_info("x", input_type, list(shape))],
                              [helper.make_empty_tensor_value_info(name) for name in outputs],
                              [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()])
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    made_model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return bytes(made_model.SerializeToString())


def onnxruntime_outputs(data: bytes, x: np.ndarray, names: Sequence[str] | None = None) -> list[np.ndarray]:
    """What onnxruntime computes, without its graph optimisations; `names` may be inner tensors."""
    import onnxruntime

    if names is not None:
        proto = onnx.ModelProto.FromString(data)
        have = {entry.name for entry in proto.graph.output}
        proto.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names if name not in have)
        data = proto.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return [np.asarray(value) for value in session.run(names and list(names), {session.get_inputs()[0].name: x})]


def to_graph_order(values: np.ndarray, axes: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    """One sample in the file's layout as the graph has it, [1, *shape]."""
    batch = [0] if len(axes) == values.ndim - 1 else []
    return np.ascontiguousarray(values.transpose([*batch, *axes])).reshape(1, *shape)


def graph_input(graph: Any, x: np.ndarray) -> np.ndarray:
    """x in the layout of the graph's input."""
    name = graph.input if isinstance(graph, FloatGraph) else graph.inputs[0]
    shape = graph.shapes[name] if isinstance(graph, FloatGraph) else graph.tensors[name].shape
    return to_graph_order(x, graph.metadata["origin"]["input"]["axes"], shape)


def check_float(data: bytes, shape: Sequence[int], tolerance: float = 2e-5, low: float = -3.0, high: float = 3.0, **options: Any) -> FloatGraph:
    """Imports, and compares the graph, before and after the passes, with onnxruntime on random inputs."""
    graph = load_onnx(data, "case", **options)
    assert isinstance(graph, FloatGraph)
    compare_float(graph, data, rng(5).uniform(low, high, shape).astype(np.float32), tolerance)
    return graph


def compare_float(graph: FloatGraph, data: bytes, x: np.ndarray, tolerance: float) -> None:
    """Asserts that the graph, before and after the passes, computes what onnxruntime does."""
    origin = graph.metadata["origin"]["outputs"]
    expected = onnxruntime_outputs(data, x, [entry["name"] for entry in origin])
    for candidate in (graph, prepare(graph), prepare_float(graph)):
        results = run_tensors(candidate, graph_input(graph, x), candidate.outputs)
        for name, entry, value in zip(candidate.outputs, origin, expected, strict=True):
            assert list(value.shape) == entry["shape"]
            wanted = to_graph_order(value, entry["axes"], candidate.shapes[name])
            largest = max(1.0, float(np.abs(wanted).max()))
            np.testing.assert_allclose(results[name], wanted, rtol=tolerance, atol=tolerance * largest, err_msg=entry["name"])


def quantize_nodes(name: str, value: str) -> list[Node]:
    """value rounded to the scale s and zero point z: name."""
    return [("QuantizeLinear", [value, "s", "z"], f"{name}_codes", {}), ("DequantizeLinear", [f"{name}_codes", "s", "z"], name, {})]


CONSTANTS = {"s": np.float32(0.05), "z": np.int8(3), "w": np.clip(floats(4, 3, 3, 3) * 40, -127, 127).astype(np.int8), "ws": np.float32(0.01),
             "wz": np.int8(0)}
CONV: list[Node] = [("DequantizeLinear", ["w", "ws", "wz"], "wd", {}), ("Conv", ["xd", "wd"], "c", {})]
