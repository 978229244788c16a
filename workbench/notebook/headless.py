"""What a notebook and the runner that runs it headless agree on."""

from __future__ import annotations

REPORT_MIME = "application/vnd.workbench.report+json"

RUN_FOLDER = "WORKBENCH_RUN_FOLDER"
"""Environment variable: the folder that a headless run writes its results to."""

YES = "WORKBENCH_SCAN_WITHOUT_ASKING"
"""Environment variable: set to 1, scans of any size begin without asking."""

SETTINGS_FILE = "WORKBENCH_SETTINGS_FILE"
"""Environment variable: a private JSON file with librdkafka settings for a cluster without a profile."""
