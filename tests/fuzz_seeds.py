"""Small valid models with a name of the caller's choice everywhere: seeds of the fuzzer, and what hostile names are tried on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from graph_cases import SCALE, ZERO_POINT, Builder
from tflite_writer import tflite_bytes

from edgecompress.ir.graph import QuantizedGraph


def small_tflite(name: str) -> bytes:
    """Convolution, depthwise, addition, mean, dense, softmax with `name` in the names of all tensors."""
    b = Builder(3)
    image = b.conv(b.input(6, 5, 2), 4, 3)
    graph = b.graph("seed", b.head(b.sum(image, b.depthwise(image)), 3))
    names = {old: f"{name}{index}" for index, old in enumerate(graph.tensors)}
    tensors = {names[old]: replace(tensor, name=names[old], scale=float(np.float32(tensor.scale))) for old, tensor in graph.tensors.items()}
    nodes = tuple(replace(node, name=f"{name}:{index}", inputs=tuple(names[i] for i in node.inputs), output=names[node.output])
                  for index, node in enumerate(graph.nodes))
    renamed = QuantizedGraph(name or "seed", tensors, nodes, tuple(names[i] for i in graph.inputs), tuple(names[o] for o in graph.outputs))
    scales = {node.name: np.full(len(node.op.bias), 0.01, np.float32) for node in nodes if hasattr(node.op, "bias")}
    return tflite_bytes(renamed, scales)


def small_onnx(name: str) -> bytes:
    """A float model, half of it quantized with QDQ pairs, with `name` in the names of all values and nodes."""
    from onnx import TensorProto, helper, numpy_helper

    generator = np.random.default_rng(0)

    def constant(key: str, values: np.ndarray) -> TensorProto:
        return numpy_helper.from_array(values, f"{name}{key}")

    constants = [
        constant("w", generator.integers(-127, 128, (4, 2, 3, 3)).astype(np.int8)), constant("ws", np.full(4, 0.01, np.float32)),
        constant("wz", np.zeros(4, np.int8)), constant("s", np.float32(SCALE)), constant("z", np.int8(ZERO_POINT)),
        constant("b", generator.integers(-500, 500, 4).astype(np.int32)), constant("bs", np.full(4, SCALE * 0.01, np.float32)),
        constant("bz", np.zeros(4, np.int32)), constant("m", generator.normal(size=(4, 3)).astype(np.float32)),
    ]

    def node(kind: str, inputs: str, output: str, **attributes: object) -> object:
        return helper.make_node(kind, [f"{name}{part}" for part in inputs.split()], [f"{name}{output}"], name=f"{name}:{output}", **attributes)

    nodes = [
        node("QuantizeLinear", "x s z", "xq"), node("DequantizeLinear", "xq s z", "xd"), node("DequantizeLinear", "w ws wz", "wd", axis=0),
        node("DequantizeLinear", "b bs bz", "bd", axis=0), node("Conv", "xd wd bd", "c", pads=[1, 1, 1, 1]), node("Relu", "c", "r"),
        node("QuantizeLinear", "r s z", "rq"), node("DequantizeLinear", "rq s z", "rd"), node("GlobalAveragePool", "rd", "g"),
        node("QuantizeLinear", "g s z", "gq"), node("DequantizeLinear", "gq s z", "gd"), node("Flatten", "gd", "f"),
    ]
    graph = helper.make_graph(nodes, name or "seed", [helper.make_tensor_value_info(f"{name}x", TensorProto.FLOAT, [1, 2, 6, 5])],
                              [helper.make_tensor_value_info(f"{name}f", TensorProto.FLOAT, [1, 4])], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data
