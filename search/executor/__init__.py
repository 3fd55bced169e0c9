"""What runs the trials of a plan.

Ray reads its environment as it is imported, which only the modules of this folder and the worker's
do: its own loggers, snapshots and signal handling cost time and hide ours.
"""

import os

os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(10**6)  # we say how many, by the slots
os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = str(10**9)
os.environ["TUNE_WARN_THRESHOLD_S"] = "5"
os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # confidential data: nobody is called
os.environ.setdefault("RAY_DEDUP_LOGS", "0")
