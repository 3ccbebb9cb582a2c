"""Where a run is told: MLflow, through a spool in its folder and a process that sends it on."""
