"""Where the windows of a convolution lie for the kernels of the DSP extension, and how ec_conv2d_dsp.c walks over them."""

from __future__ import annotations

from dataclasses import dataclass

from edgecompress.ir.ops.conv2d import Conv2D

TILE = 3  # pixels of a tile, ec_conv_tile_dsp.h


@dataclass(frozen=True)
class Windows:
    """Distances in bytes; the fields that ec_conv2d_dsp_params has too mean the same."""

    height: int
    width: int  # of the output, as the kernel walks over it
    kernel_height: int
    run_words: int
    run_step: int
    column_step: int
    row_step: int
    stride_height: int
    buffer_rows: int = 0
    pitch: int = 0
    left_bytes: int = 0
    rgb: bool = False  # three runs of 9 bytes, whose last bytes share a word

    @property
    def blocks(self) -> int:
        """Words of 4 positions in a window."""
        return self.kernel_height * self.run_words + self.rgb

    @property
    def pixels(self) -> int:
        """Of the output."""
        return self.height * self.width


def windows(op: Conv2D, source: tuple[int, ...], output: tuple[int, ...]) -> Windows:
    """Windows are read from the input itself where none leaves it and no word reaches beyond it, else from a buffer of some rows."""
    (height, width, channels), (kernel_height, kernel_width), (stride_height, stride_width) = source, op.kernel, op.stride
    run_bytes, row_bytes = kernel_width * channels, width * channels
    rgb = kernel_height == 3 and run_bytes == 9
    run_words = 2 if rgb else -(-run_bytes // 4)
    reach = (kernel_height - 1) * op.dilation[0] + 1
    inside = not (op.padding[0] or op.padding[2]) and (output[0] - 1) * stride_height + reach <= height \
        and (output[1] - 1) * stride_width + kernel_width <= width
    if inside and run_bytes >= 4 * run_words:
        flat = op.kernel == (1, 1) and op.stride == (1, 1)  # one row of pixels then
        rows, columns = (1, output[0] * output[1]) if flat else (output[0], output[1])
        return Windows(rows, columns, kernel_height, run_words, op.dilation[0] * row_bytes, stride_width * channels, stride_height * row_bytes,
                       stride_height, rgb=rgb)
    left = op.padding[2] * channels
    pitch = -(-max(left + row_bytes, (output[1] - 1) * stride_width * channels + max(4 * run_words, run_bytes)) // 4) * 4
    spanned = 0 if output[1] % TILE == 0 else 2 if output[1] == 1 else 1  # rows that a tile reaches beyond its first pixel's
    return Windows(output[0], output[1], kernel_height, run_words, op.dilation[0] * pitch, stride_width * channels, stride_height * pitch,
                   stride_height, reach + spanned * stride_height, pitch, left, rgb)


@dataclass(frozen=True)
class Walk:
    """Counts of a call. A run is one call of ec_conv_tiles: all tiles that end before a row does, or the one that crosses its end."""

    runs: int
    moves: int  # of the buffer's rows
    kept_rows: int  # moved up, over all moves
    loaded_rows: int


def walk(shape: Windows, single_tiles: bool) -> Walk:
    """What ec_conv2d_dsp does; with `single_tiles` (odd channels) every tile is a run."""
    position = runs = moves = kept = top = 0
    loaded = shape.buffer_rows
    while position < shape.pixels:
        row = position // shape.width
        if shape.buffer_rows and row > top:
            steps = min((row - top) * shape.stride_height, shape.buffer_rows)
            moves, kept, loaded, top = moves + 1, kept + shape.buffer_rows - steps, loaded + steps, row
        left = shape.width - position % shape.width
        if shape.pixels - position < TILE:
            position += 1
        else:
            position += TILE * (1 if single_tiles or left <= TILE else (left - 1) // TILE)
            runs += 1
    return Walk(runs, moves, kept, loaded)
