#!/bin/bash
# A run on four nodes of eight GPUs:
# sbatch docs/launch/slurm.sh --config configs/kinetics.py --config.source.root=STORE --workdir DIR
# STORE and DIR must be on a file system that all nodes see. There is one process for each GPU, as JAX expects on Slurm.
#SBATCH --job-name=vjax
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=vjax-%j.log

# Slurm sends SIGTERM two minutes before the time limit: the run saves and exits with 75. If a peer dies, the other
# processes exit with 75, or with 134 if JAX notices first; a killed peer itself has 137. After these codes the job is
# queued again and continues from its newest checkpoint. Every other code but 0 is an error that a person must fix. srun
# returns the highest code of all tasks, so errors become 200. A task is not killed when another one ends: it may still
# be saving.
srun --kill-on-bad-exit=0 bash -c '
  trap : TERM # the shell survives and waits for the run, which saves
  python train.py "$@"
  code=$?
  case $code in
    0 | 75 | 134 | 137) exit $code ;;
    *) exit 200 ;;
  esac
' train "$@"
code=$?
case $code in
  75 | 134 | 137)
    if [ "${SLURM_RESTART_COUNT:-0}" -lt 100 ]; then
      scontrol requeue "$SLURM_JOB_ID"
    fi
    ;;
esac
exit "$code"
