/* SPDX-License-Identifier: Apache-2.0
 * Pairs of pixels times blocks of four channels on cores with Helium: the inner loops of convolution.
 *
 * A pixel is `chunks` times 16 bytes, a block of weights [chunks][4 channels][16 bytes], and a block of parameters eight words: bias
 * and shift[4] as in ec_requant_mve.h, multiplier[4]. A half chunk may stand before the others, eight bytes of the pixel and
 * [4 channels][8 bytes] of weights, which are loaded as eight lanes of 16 bits.
 *
 * The tile of 2 pixels x 4 channels has eight accumulators, which is all that VMLADAV can have: the even registers, the link register
 * among them. Compilers do not get there (they keep some of the eight for loops and spill: 20 to 90 % more instructions), so this is
 * assembly. Loads and multiplications alternate, because the core overlaps a load with a multiplication but not two of a kind.
 *
 * Results are rescaled, moved to the zero point, saturated to int8 and stored. VRSHL rounds ties up where the definition
 * (edgecompress/ir/requant.py) rounds them away from zero: _any subtracts 1 from negative values first, which moves exactly their
 * ties down; _relu leaves that out and is right where every negative value ends at or below the zero point anyway because the
 * activation is clamped there afterwards (ec_clamp_mve) or saturates there. */
#ifndef EC_MATMUL_MVE_H
#define EC_MATMUL_MVE_H

#include "ec_kernels.h"

typedef struct {
    int32_t zero_point;
    int32_t output_step; /* bytes from a pair's output to the next pair's */
    int32_t pixel_step;  /* bytes from a pair to the next pair; _n: less a pixel. Unused in _k1 to _k4: those pairs lie end to end. */
    const int32_t *weights;
    int32_t block_bytes; /* 64 * chunks, with a half chunk 32 more (only for _n) */
    const int8_t *pixel0;
    const int8_t *pixel1;
    int32_t pairs;  /* at least 1 */
    int32_t blocks; /* at least 1 */
    const int32_t *parameters;
    int8_t *output;
    const void *entry; /* set by _n */
    uint32_t offsets[4]; /* of the outputs of channel 0 to 3: in the low half of the first pixel, in the high half of the second */
} ec_matmul_mve;

/* May change *m. _k<n>: n chunks, pairs without gaps; _s<n>: n chunks, any pixel_step; _n: at least one and a half chunks,
 * any pixel_step. */
typedef void ec_matmul_mve_function(ec_matmul_mve *m);
ec_matmul_mve_function ec_matmul_k1_any_mve, ec_matmul_k1_relu_mve, ec_matmul_k2_any_mve, ec_matmul_k2_relu_mve, ec_matmul_k3_any_mve,
    ec_matmul_k3_relu_mve, ec_matmul_k4_any_mve, ec_matmul_k4_relu_mve, ec_matmul_s1_any_mve, ec_matmul_s1_relu_mve, ec_matmul_s2_any_mve,
    ec_matmul_s2_relu_mve, ec_matmul_s3_any_mve, ec_matmul_s3_relu_mve, ec_matmul_s4_any_mve, ec_matmul_s4_relu_mve, ec_matmul_n_any_mve,
    ec_matmul_n_relu_mve;

#endif
