"""The nightly run as an Airflow DAG (3.x): copy or link this file into the DAGs folder.

The workers need `tickwire` on their PATH and its settings (TICKWIRE_KAFKA__BOOTSTRAP, …, TICKWIRE_DATA on a disk that stays,
TICKWIRE_NIGHTLY__CALENDAR) in their environment. All that decides is in `tickwire`: the first task asks whether a trading day
has settled whose run is not done, and skips the rest where none has (weekends, holidays, a run that cron has made). A day
that is missed is made up by the next run; any day is run by hand with the parameter `date`.
"""

from datetime import UTC, datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, Param

ONE_DATE = '${NIGHT:+--date "$NIGHT"}'

with DAG(
    dag_id="tickwire_nightly",
    description="Replay the trading day that has settled, check its records, train, register.",
    schedule="30 22 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=12),
    params={
        "date": Param(
            None,
            type=["null", "string"],
            format="date",
            description="A trading day; the newest that has settled if empty.",
        )
    },
    default_args={"append_env": True, "env": {"NIGHT": "{{ params.date or '' }}"}},
    tags=["tickwire"],
) as dag:
    due = BashOperator(
        task_id="due",
        bash_command=f"tickwire nightly-due {ONE_DATE} --json",
        skip_on_exit_code=99,
        execution_timeout=timedelta(minutes=5),
    )
    run = BashOperator(
        task_id="run",
        bash_command=f"tickwire nightly-run {ONE_DATE} --json",
        retries=3,
        retry_delay=timedelta(minutes=15),
        execution_timeout=timedelta(hours=6),
    )
    due >> run
