#!/bin/bash
# GRPO on the GPUs of one machine by accelerate (FSDP2): bash docs/examples/accelerate.sh
#
# It was never run on NCCL by us: what we ran is one process. Try it with `--steps 2` first.
# Every process reads the whole model into the machine's memory before it is shared out.
set -euo pipefail
SET=${SET:?folder of the data set}
PROFILE=${PROFILE:?profile whose model is to improve}
OUT=${OUT:?folder of the run}

accelerate launch --num_processes "${GPUS:-8}" --use_fsdp --fsdp_version 2 \
    --fsdp_auto_wrap_policy TRANSFORMER_BASED_WRAP \
    --fsdp_transformer_layer_cls_to_wrap Step1DecoderLayer \
    --fsdp_state_dict_type FULL_STATE_DICT --mixed_precision bf16 \
    -m step_audio train grpo "$SET" --profile "$PROFILE" --out "$OUT" --step-questions 16 --recompute --bf16
