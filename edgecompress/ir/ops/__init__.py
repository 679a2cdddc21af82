"""The table of ops. A new op is one file here and one line in OPS."""

from edgecompress.ir.op import Op
from edgecompress.ir.ops.add import Add
from edgecompress.ir.ops.average_pool2d import AveragePool2D
from edgecompress.ir.ops.batch_matmul import BatchMatmul
from edgecompress.ir.ops.concat import Concat
from edgecompress.ir.ops.conv2d import Conv2D
from edgecompress.ir.ops.delay_line import DelayLine
from edgecompress.ir.ops.dense import Dense
from edgecompress.ir.ops.depthwise_conv2d import DepthwiseConv2D
from edgecompress.ir.ops.global_average_pool import GlobalAveragePool
from edgecompress.ir.ops.lstm import Lstm
from edgecompress.ir.ops.max_pool2d import MaxPool2D
from edgecompress.ir.ops.mul import Mul
from edgecompress.ir.ops.pad import Pad
from edgecompress.ir.ops.requantize import Requantize
from edgecompress.ir.ops.reshape import Reshape
from edgecompress.ir.ops.resize_nearest import ResizeNearest
from edgecompress.ir.ops.slice import Slice
from edgecompress.ir.ops.softmax import Softmax
from edgecompress.ir.ops.svdf import Svdf
from edgecompress.ir.ops.table import Table
from edgecompress.ir.ops.transpose import Transpose

OPS: dict[str, type[Op]] = {
    "conv2d": Conv2D,
    "depthwise_conv2d": DepthwiseConv2D,
    "dense": Dense,
    "add": Add,
    "mul": Mul,
    "average_pool2d": AveragePool2D,
    "max_pool2d": MaxPool2D,
    "global_average_pool": GlobalAveragePool,
    "pad": Pad,
    "concat": Concat,
    "reshape": Reshape,
    "softmax": Softmax,
    "resize_nearest": ResizeNearest,
    "table": Table,
    "requantize": Requantize,
    "slice": Slice,
    "transpose": Transpose,
    "delay_line": DelayLine,
    "lstm": Lstm,
    "svdf": Svdf,
    "batch_matmul": BatchMatmul,
}
