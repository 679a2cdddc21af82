/* SPDX-License-Identifier: Apache-2.0
 * Tiles of eight outputs of depthwise convolution on cores with Helium, for a group of up to 16 channels.
 *
 * The input of a group stands in a buffer [strip][column][row group][16 channels][4 rows]: the four bytes of a channel are one word,
 * 64 bytes from the next, and a window is a sequence of words. VLDRW gathers four of them, VMLADAV multiplies sixteen taps at once.
 *   _pair: windows of up to 3 x 3, strides 1. Four columns of four rows hold 2 x 2 windows, so that two gathers make 2 rows x 4
 *          columns of outputs; the weights stand in four vectors, each moved by a row or a column.
 *   _g<n>: windows of n vectors (1 to 4), eight outputs along a row. _g1s2: the same for words that begin 128 bytes apart.
 * Taps beyond the window have weights of 0. The tiles come from a table, so that strips of any length and number are one loop. */
#ifndef EC_DEPTHWISE_TILES_MVE_H
#define EC_DEPTHWISE_TILES_MVE_H

#include <stdint.h>

/* One tile: its output, the valid 16-bit lanes (two bits each), the zero point, the byte in the buffer where the next one begins. */
typedef struct {
    int32_t output;
    uint32_t lanes;
    int32_t zero_point;
    int32_t next;
} ec_depthwise_tile_mve;

/* Which byte of a channel's taps is in which byte of a vector, and which bytes are valid at all (one bit each). */
typedef struct {
    uint8_t tap[16];
    uint32_t valid;
} ec_depthwise_pattern_mve;

typedef struct {
    int32_t channels;
    const int8_t *weights;
    int32_t taps; /* bytes of a channel's weights */
    const int32_t *factors; /* for each channel bias and shift as in ec_requant_mve.h, multiplier */
    const int8_t *buffer;
    int8_t *output;
    const int32_t *table; /* where the first tile begins, then a tile each: those with all lanes first */
    int32_t whole; /* tiles with all lanes */
    int32_t partial;
    const ec_depthwise_pattern_mve *patterns;
    int32_t step; /* bytes in the buffer from an output to the next one; _g<n> only */
    uint32_t words[4]; /* 0 64 128 192 */
    uint16_t offsets[8]; /* of the lanes' outputs */
} ec_depthwise_tiles_mve;

/* May change *t. */
typedef void ec_depthwise_tiles_mve_function(ec_depthwise_tiles_mve *t);
ec_depthwise_tiles_mve_function ec_depthwise_tiles_pair_any_mve, ec_depthwise_tiles_pair_relu_mve, ec_depthwise_tiles_g1s2_any_mve,
    ec_depthwise_tiles_g1s2_relu_mve, ec_depthwise_tiles_g1_any_mve, ec_depthwise_tiles_g1_relu_mve, ec_depthwise_tiles_g2_any_mve,
    ec_depthwise_tiles_g2_relu_mve, ec_depthwise_tiles_g3_any_mve, ec_depthwise_tiles_g3_relu_mve, ec_depthwise_tiles_g4_any_mve,
    ec_depthwise_tiles_g4_relu_mve;

#endif
