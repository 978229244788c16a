# noqa: INP001  Airflow reads a folder of DAGs, no package
"""A DAG of Airflow that runs the health notebook every hour, through PapermillOperator (apache-airflow-providers-papermill).

The paths are those of the container image; `profile` is one of workbench.toml.
"""

from __future__ import annotations

import pendulum
from airflow import DAG
from airflow.providers.papermill.operators.papermill import PapermillOperator

with DAG(
    dag_id="workbench_health",
    schedule="0 * * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    tags=["kafka", "workbench"],
):
    PapermillOperator(
        task_id="health",
        input_nb="/workbench/notebooks/health.ipynb",
        output_nb="/reports/health-{{ ts_nodash }}.ipynb",
        parameters={"profile": "orders", "options": ["since={{ data_interval_start | ts }}"]},
        kernel_name="python3",
        language_name="python",
    )
