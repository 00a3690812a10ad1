#!/usr/bin/env bash
# A cohort as a job array, one slide a task, and a job for the table that begins when the array has ended:
#
#   [GPUS=1] [AT_ONCE=50] submit.sh SLIDES|LIST.csv OUT [options that `wsiseg run` and `wsiseg cohort` share]
#
# Partition, account and the like come from sbatch's own variables: SBATCH_PARTITION, SBATCH_ACCOUNT, SBATCH_TIMELIMIT.
set -euo pipefail
recipe=$(dirname "$(realpath "$0")")
slides=$(realpath "$1") out=$(realpath -m "$2")
shift 2

resources=()
if [[ -n ${GPUS:-} ]]; then
    resources=(--gres="gpu:$GPUS")
    set -- --device cuda "$@"
fi
mkdir -p "$out.logs"
tasks=$(mktemp "$out.logs/tasks-XXXXXX") # waiting tasks read it: a later submission gets a file of its own
python "$recipe/tasks.py" "$slides" "$out" "$@" >"$tasks"

array=$(sbatch --parsable "${resources[@]}" --array="1-$(wc -l <"$tasks")%${AT_ONCE:-50}" \
    --output="$out.logs/%A_%a.log" "$recipe/array.sbatch" "$tasks")
table=$(sbatch --parsable "${resources[@]}" --dependency="afterany:$array" \
    --output="$out.logs/%j_table.log" "$recipe/table.sbatch" "$slides" --out "$out" "$@")
echo "array $array, table $table; what they print is in $out.logs"
