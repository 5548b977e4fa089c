"""A search over LightGBM's settings by the tree-structured Parzen estimator, which goes on where it was killed.

Every finished trial stands in a journal, which several processes may share. What a trial tries follows from the trials
that are finished, their number and the seed alone, so that one process with a budget of trials finds the same whether or
not it was killed on the way. With several processes, or a budget of seconds, what is tried depends on who was faster.

References:
    Bergstra, Bardenet, Bengio & Kégl (2011), Algorithms for hyper-parameter optimization, NeurIPS 24; Akiba et al.
    (2019), Optuna, KDD, 2623–2631: the sampler, and the pruner that stops what is worse than the median so far.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from sterling.core.processors import free_threads
from sterling.models.boosting import losses_of
from sterling.models.columns import Matrix
from sterling.models.lightgbm_library import let_waiting_threads_sleep
from sterling.models.rows import TrainingRows
from sterling.models.training import fit
from sterling.project.recipe import Tune
from sterling.project.trainers import WHOLE, LightGBM

_BEFORE_PARZEN = 5
"""Trials that are drawn at random, the preset among them, before the sampler learns from them."""


class Block(NamedTuple):
    """Rows to train on, and the later ones that judge."""

    rows: TrainingRows
    """What was known before the block."""
    matrix: Matrix
    """The block's features, encoded as the rows are."""
    label: NDArray[np.float64]
    """The block's labels."""


class Tried(NamedTuple):
    """A trial."""

    number: int
    """1 for the first, which is the preset."""
    settings: dict[str, float]
    """What it tried."""
    loss: float | None
    """Mean loss over the blocks; None where it was stopped on the way."""


class Searched(NamedTuple):
    """What a search found."""

    best: LightGBM
    """The trainer with the best settings."""
    tried: tuple[Tried, ...]
    """Every finished trial, in order."""
    stopped: str
    """Why no more were tried."""


def search(
    tune: Tune,
    preset: LightGBM,
    blocks: Sequence[Block],
    *,
    seed: int,
    journal: Path | None,
    threads: int | None = None,
) -> Searched:
    """Look for settings of a smaller loss on the blocks: log loss, or squared error where the label is a number.

    Args:
        tune: The space, and when to stop.
        preset: What is tried first.
        blocks: What each trial is judged on, the earliest first.
        seed: Seed of what is tried and of training.
        journal: File that finished trials are read from and added to; None to forget them.
        threads: Threads of each training; the losses do not depend on them.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name="tuning", storage=_storage(journal), load_if_exists=True, pruner=optuna.pruners.MedianPruner(n_startup_trials=3)
    )  # fmt: skip
    distributions = {name: _distribution(optuna, name, low, high) for name, (low, high) in tune.ranges().items()}
    began, settled = time.monotonic(), preset.settled(len(blocks[0].rows.label))
    while not (stopped := _stopped(_finished(study), tune, time.monotonic() - began)):
        done = _finished(study)
        study.sampler = optuna.samplers.TPESampler(
            seed=_seed_of(seed, len(done)), n_startup_trials=_BEFORE_PARZEN, constant_liar=False
        )
        if not done:
            settings = {name: getattr(settled, name) for name in distributions}
            study.enqueue_trial({name: _inside(settings[name], tune.ranges()[name]) for name in distributions})
        trial = study.ask(distributions)
        trainer = preset if not done else msgspec.structs.replace(preset, **trial.params)
        _attempt(study, trial, trainer, blocks, threads or free_threads())
    tried = tuple(_tried(number, trial) for number, trial in enumerate(_finished(study), start=1))
    best = min((one for one in tried if one.loss is not None), key=lambda one: (one.loss, one.number))
    chosen = preset if best.number == 1 else msgspec.structs.replace(preset, **best.settings)
    return Searched(chosen, tried, stopped)


def loss_on(trainer: LightGBM, block: Block, threads: int) -> float:
    """Mean loss on a block of trees that are added until it is predicted no better, alike for every trial."""
    let_waiting_threads_sleep()
    model = fit(trainer, block.rows, threads=threads)
    return float(losses_of(block.rows.task, block.label, model.predict(block.matrix)).mean())


def _attempt(study: Any, trial: Any, trainer: LightGBM, blocks: Sequence[Block], threads: int) -> None:
    import optuna

    losses = []
    for step, block in enumerate(blocks):
        losses.append(loss_on(trainer, block, threads))
        trial.report(float(np.mean(losses)), step)
        if step < len(blocks) - 1 and trial.should_prune():
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return
    study.tell(trial, float(np.mean(losses)))


def _finished(study: Any) -> list[Any]:
    from optuna.trial import TrialState

    found = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    return sorted(found, key=lambda trial: (trial.datetime_complete, trial.number))


def _stopped(done: Sequence[Any], tune: Tune, seconds: float) -> str:
    """Why no more are tried; empty while more are."""
    if len(done) >= tune.trials:
        return f"{len(done)} trials"
    if tune.seconds is not None and done and seconds >= tune.seconds:
        return f"{tune.seconds:g} seconds"
    best = np.minimum.accumulate([np.inf if (loss := _tried(0, trial).loss) is None else loss for trial in done])
    if len(done) > tune.patience and best[-1] > best[-1 - tune.patience] * (1 - tune.least_gain):
        return f"{tune.patience} trials in a row brought less than {tune.least_gain:g} of the loss"
    return ""


def _tried(number: int, trial: Any) -> Tried:
    whole = trial.state.name == "COMPLETE"
    return Tried(number, {name: trial.params[name] for name in sorted(trial.params)}, trial.value if whole else None)


def _distribution(optuna: Any, name: str, low: float, high: float) -> Any:
    if name in WHOLE:
        return optuna.distributions.IntDistribution(int(low), int(high), log=True)
    return optuna.distributions.FloatDistribution(low, high, log=name not in {"feature_fraction", "bagging_fraction"})


def _inside(value: float, bounds: tuple[float, float]) -> float:
    """The preset's setting, or the nearest that the space has: what is trained first is the preset itself."""
    return type(value)(min(max(value, bounds[0]), bounds[1]))


def _seed_of(seed: int, done: int) -> int:
    return int(np.random.SeedSequence([seed, done]).generate_state(1)[0])


def _storage(journal: Path | None) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    if journal is None:
        return None
    journal.parent.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(str(journal)))
