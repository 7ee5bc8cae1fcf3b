#!/bin/bash
# A run on four nodes of eight GPUs:
# sbatch docs/launch/slurm.sh --config configs/kinetics.py --config.source.root=STORE --workdir DIR
# STORE and DIR lie on a file system that all nodes see. One process a GPU, as JAX expects under Slurm.
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

# SIGTERM comes two minutes before the time is over: the run saves and ends with 75, and so it does where a peer has
# died; with 134 where JAX is first to notice, and the peer itself with 137. Then the job goes on from its newest
# checkpoint. Whatever else is an error that a person must mend. srun gives the highest code of all tasks, so errors are
# put on top. No task is killed because another one has ended: it may still be saving.
srun --kill-on-bad-exit=0 bash -c '
  trap : TERM # wait for the run, which saves
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
