#!/bin/bash
# Everything behind pre-training, on one data set, with several seeds, against the start:
# SFT, rejection sampling, DPO with and without audio ids, chi-PO, a reward model, GRPO, a merge.
#
#     SET=my-set PROFILE=nano OUT=runs/post bash docs/examples/post_training.sh
#
# SET has texts, sounds and verdicts (data write, speak, filter); HELD is another such set, of other
# questions. The last lines are JSON: each checkpoint's mean rewards on HELD with 95 % intervals.
# RECOGNISER=none judges words and calls alone, many times faster. SFT, DPO and GRPO take more flags for
# those stages, such as DPO="--learning-rate 2e-5": the usual rates are for billions of parameters.
set -euo pipefail
SET=${SET:?folder of the data set to learn from}
HELD=${HELD:?folder of the data set to measure with}
PROFILE=${PROFILE:-nano}
FROM=${FROM:-step_audio/weights/nano/lm}
OUT=${OUT:-runs/post}
SEEDS=${SEEDS:-0 1 2}
STEPS=${STEPS:-100}
QUESTIONS=${QUESTIONS:-50}
RECOGNISER=${RECOGNISER:-open}
read -ra SFT <<<"${SFT:-}"
read -ra DPO <<<"${DPO:-}"
read -ra GRPO <<<"${GRPO:-}"
STEP=${STEP:-step-audio}
HERE=$(dirname "$0")

$STEP data pack "$SET" -o "$OUT/pack" --profile "$PROFILE"
$STEP train reject "$SET" --profile "$PROFILE" --out "$OUT/chosen" --questions "$QUESTIONS" \
    --gap 0.1 --least 0.5 --temperature 1.2 --recogniser "$RECOGNISER"
$STEP data export "$OUT/chosen/pairs" -o "$OUT/pairs.parquet"
checkpoints=("--from=$FROM")
for seed in $SEEDS; do
    run=$OUT/$seed
    common=(--steps "$STEPS" --seed "$seed")
    $STEP train sft --from "$FROM" --data "$OUT/pack" --out "$run/sft" "${common[@]}" \
        "${SFT[@]}"
    pairs=(--from "$run/sft/export" --data "$OUT/chosen/pairs" "${common[@]}" "${DPO[@]}")
    $STEP train dpo "${pairs[@]}" --out "$run/dpo"
    $STEP train dpo "${pairs[@]}" --out "$run/dpo-unmasked" --no-mask-audio
    $STEP train dpo "${pairs[@]}" --out "$run/chi-po" --loss chi-po
    [ -f "$run/reward/model.safetensors" ] ||
        python "$HERE/reward.py" "$run/sft/export" "$OUT/pairs.parquet" "$run/reward" "$STEPS"
    answers=("$SET" --profile "$PROFILE" --from "$run/sft/export" --questions "$QUESTIONS")
    $STEP train grpo "${answers[@]}" --out "$run/grpo" "${common[@]}" "${GRPO[@]}"
    $STEP train grpo "${answers[@]}" --out "$run/grpo-model" "${common[@]}" \
        --rewards judge=1,model=0.2 --reward-model "$run/reward" "${GRPO[@]}"
    $STEP train merge --out "$run/merged" --parent "$run/sft/export=5" \
        --parent "$run/dpo/export=1" --parent "$run/grpo/export=1"
    for name in sft dpo dpo-unmasked chi-po grpo grpo-model; do
        checkpoints+=("--from=$run/$name/export")
    done
    checkpoints+=("--from=$run/merged")
done
$STEP train score "$HELD" --profile "$PROFILE" "${checkpoints[@]}" --recogniser "$RECOGNISER" |
    tee "$OUT/scores.jsonl"
