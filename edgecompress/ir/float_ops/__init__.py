"""Float32 ops: the same rules as `ir/ops`, for models that stay float on a core with an FPU.

The numpy reference here is again the definition, to the last bit: every sum is made in one stated order, product and sum are rounded each by
itself (no fused multiply-add), and the exponential is our own (functions.py), so that the C kernels give the same 32 bits. Subnormal numbers
are kept. NaN and infinity are inputs like any other: ops with bounds turn NaN into the lower one, the others hand it on or say what they do.
"""

from edgecompress.ir.float_ops.elementwise import FloatBinary, FloatConcat, FloatPad, FloatUnary
from edgecompress.ir.float_ops.layers import FloatConv2D, FloatDense, FloatDepthwiseConv2D
from edgecompress.ir.float_ops.reductions import FloatGlobalAveragePool, FloatPool2D, FloatSoftmax
from edgecompress.ir.op import Op

FLOAT_OPS: dict[str, type[Op]] = {op.kind: op for op in (
    FloatConv2D, FloatDepthwiseConv2D, FloatDense, FloatBinary, FloatUnary, FloatPool2D, FloatGlobalAveragePool, FloatSoftmax,
    FloatConcat, FloatPad,
)}
