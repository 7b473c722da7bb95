"""A job ends when the Snakemake that started it has died: unseen, it would write beside the next run's."""

from __future__ import annotations

import os
import sys
import threading
import time

import psutil

VARIABLE = "COMPANION_LEADER"  # set by the Snakefile to the process that reads it


def follow(every: float = 1.0) -> None:
    """End this process as soon as the one named by COMPANION_LEADER is gone; without the variable, do nothing."""
    if VARIABLE not in os.environ:
        return
    try:
        leader = psutil.Process(int(os.environ[VARIABLE]))
    except psutil.NoSuchProcess:
        sys.exit("error: the run that started this job has ended")

    def watch():
        while _alive(leader):
            time.sleep(every)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
