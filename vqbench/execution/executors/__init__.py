"""Executors: runs in this process, in workers, on Ray and on Slurm."""
