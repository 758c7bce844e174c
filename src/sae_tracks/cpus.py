"""How many CPUs there are to use."""

import os


def granted_cpus() -> int:
    """CPUs that the scheduler grants, else those of the affinity mask, or of the machine where it has none (macOS)."""
    said = os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get("NSLOTS") or ""
    if said.isdecimal():
        return int(said)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
