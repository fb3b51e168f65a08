"""Run by Airflow's Python: the DAG as a DAG bag sees it, then a run for every scenario; JSON on the last line.

python airflow_runs.py DAG_FILE SCENARIOS    SCENARIOS: JSON, [{"conf": {...}, "env": {...}}, ...]
"""

import json
import os
import sys
from typing import Any

from airflow.dag_processing.dagbag import DagBag

DAG_ID = "tickwire_nightly"


def described(dag: Any) -> dict[str, Any]:
    """What the scheduler would go by."""
    return {
        "schedule": dag.timetable.summary if hasattr(dag.timetable, "summary") else str(dag.schedule),
        "catchup": dag.catchup,
        "max_active_runs": dag.max_active_runs,
        "downstream": {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks},
    }


def main() -> None:
    """Parse once, run each scenario."""
    bag = DagBag(dag_folder=sys.argv[1])
    told: dict[str, Any] = {"errors": bag.import_errors, "dags": list(bag.dags)}
    dag = bag.dags[DAG_ID]
    told["dag"] = described(dag)
    told["runs"] = []
    for scenario in json.loads(sys.argv[2]):
        os.environ.update(scenario["env"])
        fresh = DagBag(dag_folder=sys.argv[1]).dags[DAG_ID]  # a run leaves its conf in the parameters of the DAG
        run = fresh.test(run_conf=scenario["conf"])
        told["runs"].append({task.task_id: task.state for task in run.get_task_instances()})
    print(json.dumps(told))


if __name__ == "__main__":
    main()
