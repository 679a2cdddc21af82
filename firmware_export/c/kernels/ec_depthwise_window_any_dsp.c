/* SPDX-License-Identifier: Apache-2.0 */
#include "ec_depthwise_window_dsp.h"

/* taps[0] stand at 56 on the stack, taps[1] at 60. */
EC_DEPTHWISE_WINDOW_FUNCTION(ec_depthwise_window_any, "    ec_dww_loop \\columns, 56\n"
                                                      "    ldr r2, [sp, #60]\n"
                                                      "    cmp r2, #0\n"
                                                      "    beq 9f\n"
                                                      "    ec_dww_loop \\columns, 60\n"
                                                      "9:\n");
