#!/bin/bash
# A run on four nodes of eight GPUs: sbatch docs/launch/slurm.sh --config configs/kinetics.py --workdir DIR
# DIR and the data lie on a file system that all nodes see. One process a GPU, as JAX expects under Slurm.
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

# SIGTERM comes two minutes before the time is over: the run saves and ends with 75, and so it does when a process is
# lost. The same job then goes on from its newest checkpoint. 2 is an error that a person must mend. Nothing is killed
# because another process has ended: it may still be saving, and notices by itself that a peer has died.
srun --kill-on-bad-exit=0 python train.py "$@"
code=$?
if [ "$code" -eq 75 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
