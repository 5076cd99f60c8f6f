"""What everything stands on: errors, seeds, files, artifacts, fetching, the training loop, progress, protocols."""
