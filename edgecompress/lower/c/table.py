"""EMIT: op kind -> portable emitter. FAST: op kind -> emitters for cores that have more. UNSUPPORTED: op kind -> why C cannot do it."""

from __future__ import annotations

from collections.abc import Collection

from edgecompress.lower.c.convolution import Conv2DEmitter, DenseEmitter, DepthwiseConv2DEmitter
from edgecompress.lower.c.dsp_convolution import Conv2DDspEmitter, DenseDspEmitter
from edgecompress.lower.c.dsp_depthwise import Depthwise3x3Emitter, DepthwiseDotEmitter, DepthwiseLineEmitter, DepthwiseWindowEmitter
from edgecompress.lower.c.dsp_simple import AddDspEmitter, GlobalAveragePoolDspEmitter, Pool2DDspEmitter, RequantizeDspEmitter
from edgecompress.lower.c.dsp_winograd import WinogradDspEmitter
from edgecompress.lower.c.emitter import Call, Emitter
from edgecompress.lower.c.float_emitters import FLOAT_EMIT
from edgecompress.lower.c.matmul import BatchMatmulDspEmitter, BatchMatmulEmitter
from edgecompress.lower.c.mve_convolution import Conv2DMveEmitter
from edgecompress.lower.c.mve_dense import DenseMveEmitter
from edgecompress.lower.c.mve_depthwise import DepthwiseMveEmitter
from edgecompress.lower.c.mve_simple import AddMveEmitter, GlobalAveragePoolMveEmitter, Pool2DMveEmitter
from edgecompress.lower.c.sequence import DelayLineEmitter, LstmDspEmitter, LstmEmitter, SliceEmitter, SvdfEmitter, TransposeEmitter
from edgecompress.lower.c.simple import (
    AddEmitter,
    ConcatEmitter,
    CopyEmitter,
    GlobalAveragePoolEmitter,
    MulEmitter,
    PadEmitter,
    Pool2DEmitter,
    RequantizeEmitter,
    ResizeNearestEmitter,
    SoftmaxEmitter,
    TableEmitter,
)

COPY = CopyEmitter("copy")  # of any reshape or slice whose bytes lie in one piece

EMIT: dict[str, Emitter] = {
    "conv2d": Conv2DEmitter(),
    "depthwise_conv2d": DepthwiseConv2DEmitter(),
    "dense": DenseEmitter(),
    "add": AddEmitter("add"),
    "mul": MulEmitter("mul"),
    "average_pool2d": Pool2DEmitter("average_pool2d"),
    "max_pool2d": Pool2DEmitter("max_pool2d"),
    "global_average_pool": GlobalAveragePoolEmitter("global_average_pool"),
    "pad": PadEmitter("pad"),
    "concat": ConcatEmitter("concat"),
    "reshape": COPY,  # nearly always an alias that needs no code, see views.py
    "softmax": SoftmaxEmitter("softmax"),
    "resize_nearest": ResizeNearestEmitter("resize_nearest"),
    "table": TableEmitter("table"),
    "requantize": RequantizeEmitter("requantize"),
    "slice": SliceEmitter("rearrange"),
    "transpose": TransposeEmitter("rearrange"),
    "delay_line": DelayLineEmitter("delay_line"),
    "lstm": LstmEmitter("lstm"),
    "svdf": SvdfEmitter("svdf"),
    "batch_matmul": BatchMatmulEmitter("batch_matmul"),
}

# the first one that the core and the call allow is taken, so the fastest stands first
FAST: dict[str, tuple[Emitter, ...]] = {
    "conv2d": (Conv2DMveEmitter(), DenseDspEmitter(), WinogradDspEmitter(), Conv2DDspEmitter()),
    "dense": (DenseMveEmitter(), DenseDspEmitter()),
    "depthwise_conv2d": (DepthwiseDotEmitter(), DepthwiseMveEmitter(), Depthwise3x3Emitter(1), Depthwise3x3Emitter(2), DepthwiseLineEmitter(),
                         DepthwiseWindowEmitter(5, 1), DepthwiseWindowEmitter(5, 2), DepthwiseWindowEmitter(7, 1), DepthwiseWindowEmitter(7, 2),
                         DepthwiseWindowEmitter()),
    "lstm": (LstmDspEmitter("lstm"),),
    "add": (AddMveEmitter(), AddDspEmitter("add")),
    "average_pool2d": (Pool2DMveEmitter("average_pool2d"), Pool2DDspEmitter("average_pool2d")),
    "max_pool2d": (Pool2DMveEmitter("max_pool2d"), Pool2DDspEmitter("max_pool2d")),
    "global_average_pool": (GlobalAveragePoolMveEmitter("global_average_pool"), GlobalAveragePoolDspEmitter("global_average_pool")),
    "requantize": (RequantizeDspEmitter("requantize"),),
    "batch_matmul": (BatchMatmulDspEmitter("batch_matmul"),),
}

UNSUPPORTED: dict[str, str] = {}


def select(call: Call, extensions: Collection[str], frugal: bool = False) -> Emitter:
    """The fastest emitter of a call for a core with these extensions; with `frugal` of the fast ones that with the least scratch memory."""
    able = (emitter for emitter in FAST.get(call.kind, ()) if emitter.extensions.issubset(extensions) and emitter.supports(call))
    found = min(able, key=lambda emitter: emitter.scratch_bytes(call), default=None) if frugal else next(able, None)
    if found is not None:
        return found
    return FLOAT_EMIT[call.kind] if call.kind in FLOAT_EMIT else EMIT[call.kind]
