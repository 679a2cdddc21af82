/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_kernels.h"
#include "ec_memory.h"

/* Steps of input_size / output_size are taken by counting, so that no product can overflow and no division is needed. */
void ec_resize_nearest_s8(const ec_resize_nearest_params *params, const int8_t *input, int8_t *output)
{
    const ec_resize_nearest_params p = *params;
    int32_t row, column, row_rest = 0;
    for (row = 0; row < p.output_height; ++row) {
        const int8_t *source = input;
        int32_t column_rest = 0;
        for (column = 0; column < p.output_width; ++column) {
            memcpy(output, source, (size_t)p.channels);
            output += p.channels;
            for (column_rest += p.input_width; column_rest >= p.output_width; column_rest -= p.output_width) {
                source += p.channels;
            }
        }
        for (row_rest += p.input_height; row_rest >= p.output_height; row_rest -= p.output_height) {
            input += p.input_width * p.channels;
        }
    }
}
