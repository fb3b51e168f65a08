"""Commands of the batch side, and of models: replays into matrices, evaluation, schedules, drift, export."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from schemas.errors import InputError, SettingsError, TickwireError

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Date = Annotated[str, typer.Option(help="A trading day; the newest that has settled if left out.")]
Exchange = Annotated[str, typer.Option(help="An exchange calendar such as XNYS, or 24/7; TICKWIRE_NIGHTLY__CALENDAR.")]
MODELS = "Models"

app = typer.Typer()


def _settings() -> Any:
    from infra.configured import load  # noqa: PLC0415

    return load()


@contextmanager
def _beginning() -> Iterator[None]:
    """Whatever fails in here ends with 2: Python's own 1 would say that the checks refuse the matrix."""
    try:
        yield
    except ImportError as error:
        raise SettingsError(
            f"a library cannot be used: {error}; is tickwire installed with its extra `train`?"
        ) from error
    except InputError as error:
        raise SettingsError(str(error)) from error
    except TickwireError:
        raise
    except Exception as error:
        raise SettingsError(f"it could not begin: {type(error).__name__}: {error}") from error


@app.command(rich_help_panel=MODELS)
def evaluate(  # noqa: PLR0913, PLR0917 - one argument an option
    paths: Annotated[list[Path], typer.Argument(help="Recordings, or directories of them (LEAN's US equities).")],
    dataset: Annotated[
        bool, typer.Option("--dataset", help="The one path is a directory that `tickwire nightly` wrote.")
    ] = False,
    symbols: Annotated[str, typer.Option(help="Symbols separated by commas; all of them if left out.")] = "",
    train: Annotated[str, typer.Option(help="First day to train on, for example 2013-10-07.")] = "",
    test: Annotated[str, typer.Option(help="Day to test on; walk-forward through all if left out.")] = "",
    folds: Annotated[int, typer.Option(help="Tests of a walk-forward.", min=1)] = 5,
    horizon: Annotated[float, typer.Option(help="Seconds ahead; TICKWIRE_FOLD__HORIZON if 0.", min=0)] = 0,
    seed: Annotated[int, typer.Option(help="Of training and resampling.", min=0)] = 0,
    draws: Annotated[int, typer.Option(help="Resamplings behind an interval.", min=100)] = 1_000,
    out: Annotated[Path, typer.Option(help="The page; its pictures lie beside it.")] = Path("docs/models.md"),
    json: Json = False,
) -> None:
    """Train and test every model and baseline on recordings, and say what they are worth, with confidence intervals."""
    from infra.cli.evaluate import Asked, run, run_dataset  # noqa: PLC0415

    asked = Asked(
        paths=tuple(paths), symbols=symbols, train=train, test=test, folds=folds, horizon_s=horizon, seed=seed, draws=draws,
        out=out,
    )  # fmt: skip
    (run_dataset if dataset else run)(_settings(), asked, as_json=json)


@app.command(rich_help_panel=MODELS)
def nightly(  # noqa: PLR0913, PLR0917 - one argument an option
    first: Annotated[
        str,
        typer.Option(
            "--from",
            help="An offset, partitions with offsets (0:100,3:50), or a time; rows are kept of predictions from here on.",
        ),
    ] = "",
    end: Annotated[
        str, typer.Option("--to", help="The same, and not included; the log's present end if left out.")
    ] = "",
    symbols: Annotated[str, typer.Option(help="Rows of only these, separated by commas.")] = "",
    horizon: Annotated[float, typer.Option(help="Seconds; TICKWIRE_FOLD__HORIZON if left out.", min=0)] = 0,
    train: Annotated[
        bool, typer.Option("--train/--no-train", help="Train on the matrix once its checks have passed.")
    ] = True,
    warm_start: Annotated[
        bool,
        typer.Option(
            "--warm-start", help="Let the online model learn along; `tickwire models warm` puts it into force."
        ),
    ] = False,
    processes: Annotated[int, typer.Option(help="Partitions folded at a time.", min=1)] = 1,
    into: Annotated[Path | None, typer.Option(help="Directory of the matrix.")] = None,
    events: Annotated[
        Path | None, typer.Option(help="A Parquet archive of the log, where retention has passed.")
    ] = None,
    save_events: Annotated[
        Path | None, typer.Option(help="Copy what the topic holds into such an archive first.")
    ] = None,
    limits: Annotated[Path | None, typer.Option(help="JSON with limits of the data checks.")] = None,
    log: Annotated[str, typer.Option(help="Id of the log.")] = "",
    accept_loss: Annotated[bool, typer.Option("--accept-loss", help="Go on where nobody has a record.")] = False,
    json: Json = False,
) -> None:
    """Replay the log into a training matrix, check it, train on it; goes on after a kill.

    0 done, 1 refused by the checks, 2 could not be done, 75 another run is at it.
    """
    with _beginning():
        from infra.cli.nightly import request_of, run  # noqa: PLC0415

        request = request_of(
            first=first, end=end, log_id=log, symbols=symbols, horizon_s=horizon, train=train, warm_start=warm_start,
            processes=processes, into=into, events=events, save_events=save_events, limits=limits, accept_loss=accept_loss,
        )  # fmt: skip
        settings = _settings()
    raise typer.Exit(run(settings, request, as_json=json))


@app.command("nightly-run", rich_help_panel=MODELS)
def nightly_run(date: Date = "", calendar: Exchange = "", json: Json = False) -> None:
    """The nightly of a trading day, once: 0 done or nothing to do, 1 checks failed, 2 could not be done, 75 one is being made."""
    with _beginning():
        from infra.cli.schedule import nightly_run as run  # noqa: PLC0415

        found = _settings()
    raise typer.Exit(run(found, calendar or found.nightly.calendar, found.nightly.settle, day=date, as_json=json))


@app.command("nightly-due", rich_help_panel=MODELS)
def nightly_due(date: Date = "", calendar: Exchange = "", json: Json = False) -> None:
    """Whether `nightly-run` would run something: 0 yes, 99 nothing is due, 2 too early or impossible."""
    with _beginning():
        from infra.cli.schedule import nightly_due as run  # noqa: PLC0415

        found = _settings()
    raise typer.Exit(run(found, calendar or found.nightly.calendar, found.nightly.settle, day=date, as_json=json))


@app.command(rich_help_panel="Processes")
def schedule() -> None:
    """Start the nightly run every day at TICKWIRE_NIGHTLY__AT."""
    from infra.cli.schedule import schedule as run  # noqa: PLC0415

    found = _settings()
    run(found, found.nightly.at)


@app.command("watch-drift", rich_help_panel="Processes")
def watch_drift(
    promotion: Annotated[
        str,
        typer.Option(
            help="person: a challenger that has won is told, and you promote it. verdict: it is promoted when it has won, "
            "with confidence, on live outcomes. TICKWIRE_DRIFT__PROMOTION, a person unless set: a model that wins on log loss "
            "can still lose money, so let the verdict promote only once you have seen it judge well."
        ),
    ] = "",
    retrain: Annotated[
        str,
        typer.Option(
            help="Program in place of the guarded nightly training: gets an order as JSON, lets its model score beside the "
            'champion, and last prints {"challenger": ID}.'
        ),
    ] = "",
    promote: Annotated[str, typer.Option(help="Program that gets the verdict on a challenger that has won.")] = "",
    learn: Annotated[
        float, typer.Option(help="Make the serving model's reference from so many stored seconds, and end.", min=0)
    ] = 0,
    window: Annotated[
        float, typer.Option(help="Seconds of a window of references made now; TICKWIRE_DRIFT__WINDOW if 0.", min=0)
    ] = 0,
    false_alarms: Annotated[
        float,
        typer.Option(help="Probability of any alarm on a quiet day; TICKWIRE_DRIFT__FALSE_ALARMS_PER_DAY if 0.", min=0),
    ] = 0,
    anew: Annotated[bool, typer.Option("--anew", help="Forget what was read and learnt.")] = False,
) -> None:
    """Watch the model that serves for drift; tell it, and have a challenger trained when it must be. `tickwire up` runs it."""
    from infra.cli.drift import chosen, run  # noqa: PLC0415

    found = chosen(_settings(), promotion=promotion, window_s=window, false_alarms=false_alarms)
    run(found, retrain=retrain, promote=promote, learn_s=learn, anew=anew)


@app.command("export-triton", rich_help_panel=MODELS)
def export_triton(
    repository: Annotated[Path, typer.Argument(help="Triton's model repository; made where it does not exist.")],
    model: Annotated[str, typer.Option(help="Name of the model that scores, or the id of any other.")] = "mlp",
    version: Annotated[int, typer.Option(help="1 or more; the next one where 0.", min=0)] = 0,
    gpu: Annotated[bool, typer.Option("--gpu", help="Run it on Triton's GPUs.")] = False,
    max_batch: Annotated[int, typer.Option(help="Rows that Triton scores at once.", min=1)] = 4096,
    queue_delay_us: Annotated[int, typer.Option(help="How long a request waits for others.", min=0)] = 200,
    json: Json = False,
) -> None:
    """Write a trained model as a directory that Triton Inference Server serves."""
    from infra.cli.serving import export_triton as run  # noqa: PLC0415

    run(
        _settings(), repository, model, version or None, device="gpu" if gpu else "cpu", max_batch_size=max_batch,
        queue_delay_us=queue_delay_us, as_json=json,
    )  # fmt: skip
