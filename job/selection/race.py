"""The race of the candidates. It can stop at any step and goes on where it was."""

import logging
from dataclasses import dataclass, field, replace

import numpy as np

from job.batches import Feed, collect_labels
from job.linear import choose_factors, set_trial
from job.model import Classifier
from job.selection.candidates import (
    Candidate,
    choose_boundaries,
    is_worth_a_race,
    list_candidates,
)
from job.selection.measuring import MeasuredData
from job.selection.results import RaceResults
from job.selection.rule import Judged, choose_metric, choose_winner
from job.selection.schedule import Rung, order_by_steps, plan_race
from job.settings import TransferSettings
from job.training import (
    Fitted,
    Rank,
    StageProgress,
    StageTrainer,
    TrainingContext,
    TrainingSession,
    assign_arrays,
    conclude,
    divide_classifier,
    load_inputs,
    read_arrays,
    refine,
    solve_head,
    solve_plain_head,
)
from job.transfer import Choice, Plan, Stage, make_plan

logger = logging.getLogger(__name__)

RULE = "measured"
# Names of what a session keeps of the heads that were solved.
PLAIN, STAGES = "head", "head on all stages"


def race_candidates(
    classifier: Classifier,
    feed: Feed,
    settings: TransferSettings,
    measured: MeasuredData | None,
    context: TrainingContext,
) -> Fitted:
    """Train several candidates inside the budget, and keep the best.

    Args:
        classifier: with the pre-trained weights and a head that can be solved.
        feed: the images. The test images take no part.
        settings: the `transfer` group.
        measured: None for a worker that is not the chief. It takes over what the chief has found.
        context: whose metric chooses the best weights. Where classes are unequal, and the metric is
            the accuracy, it is replaced by the balanced accuracy.

    Raises:
        as `training.fit`.
    """
    metric = choose_metric(context.gate.metric, collect_labels(feed.splits.train))
    gate = context.gate.model_copy(update={"metric": metric})
    context = replace(context, gate=gate)
    session = TrainingSession(classifier=classifier, feed=feed, context=context)
    start = read_arrays(classifier.model.variables)
    session.resume()
    runner = _Race(classifier=classifier, session=session, settings=settings, start=start)
    if not session.progress.over:
        runner.run(measured)
    return conclude(session, runner.plan_winner())


@dataclass(slots=True, kw_only=True)
class _Race:
    """A race of which the session knows how far it is.

    Attributes:
        classifier: with the head that was asked for. That of the session may have another one.
        session: with the state of every candidate.
        settings: the `transfer` group.
        start: values of all variables before anything was trained.
        trainers: of the candidates that have run in this process.
    """

    classifier: Classifier
    session: TrainingSession
    settings: TransferSettings
    start: list[np.ndarray]
    trainers: dict[str, StageTrainer] = field(default_factory=dict)

    def run(self, measured: MeasuredData | None) -> None:
        """From the pre-trained weights to those of the winner."""
        session, progress = self.session, self.session.progress
        if not progress.stage:
            if measured:
                self._solve_heads(measured)
            with session.context.stop.deferred():
                session.end_stage()
            progress = session.progress
        epochs = session.context.settings.epochs
        budget = self.settings.budget if progress.races else 0.0
        rungs = plan_race(self.candidates, epochs, budget)
        for number, rung in enumerate(rungs):
            if number == len(progress.rungs):
                progress.rungs.append(self._list_best(rung.candidates))
            for place, name in enumerate(progress.rungs[number]):
                legs_before = sum(len(names) for names in progress.rungs[:number])
                if legs_before + place == progress.legs:
                    self._run_leg(self._find_candidate(name), rung)
        self._finish()

    def plan_winner(self) -> Plan:
        """The plan that a race has ended with."""
        outcome = self.session.progress.outcome
        candidate = self._find_candidate(outcome["name"])
        choice = Choice(candidate.mode, candidate.cut, outcome["reason"], RULE)
        # A candidate that is trained by steps starts from the solved head.
        settings = self.settings.model_copy(update={"probe": True})
        return make_plan(settings, self.session.classifier, choice)

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Those of mode `none` first, and `all` last."""
        session = self.session
        return list_candidates(
            self.classifier,
            session.progress.boundaries,
            session.feed.splits,
            session.context.settings.epochs,
        )

    def _find_candidate(self, name: str) -> Candidate:
        return next(candidate for candidate in self.candidates if candidate.name == name)

    def _solve_heads(self, measured: MeasuredData) -> None:
        session, features = self.session, measured.features
        metric = session.context.gate.metric
        plain = solve_plain_head(session, features)
        kept = [plain.probe.kernel, plain.probe.bias, plain.val_logits]
        session.kept[PLAIN] = kept
        session.progress.races = is_worth_a_race(measured.measurement, session.feed.splits)
        session.progress.boundaries = choose_boundaries(measured.measurement)
        if any(candidate.pooling == "stages" for candidate in self.candidates):
            trial = set_trial(features.train, features.val)
            factors = choose_factors(trial, features.groups, metric).columns(features.groups)
            head = solve_head(features.train, features.val, metric, factors)
            session.kept[STAGES] = [head.probe.kernel, head.probe.bias, head.val_logits]

    def _list_best(self, count: int) -> list[str]:
        """The names of the candidates of the next rung."""
        progress = self.session.progress
        if not progress.rungs:
            return [candidate.name for candidate in order_by_steps(self.candidates)[:count]]

        def rank(name: str) -> Rank:
            return progress.parked[name].ranks[0]

        names = sorted(progress.rungs[-1], key=rank, reverse=True)
        for name in names[count:]:
            # Only its scores are of use from now on.
            for kind in ("variables", "optimizer", "best"):
                del self.session.kept[f"{name}: {kind}"]
            self.trainers.pop(name, None)
        return names[:count]

    def _run_leg(self, candidate: Candidate, rung: Rung) -> None:
        """Train a candidate up to the end of a rung, and park it."""
        session, name = self.session, candidate.name
        context, kept = session.context, session.kept
        resumed = dict(session.running)
        session.running = {}
        # A resumed leg goes on in the middle, and what follows assigns the start.
        middle = read_arrays(session.classifier.model.variables) if resumed else []
        trainer = self._get_trainer(candidate)
        variables = trainer.network.variables
        if resumed:
            assign_arrays(session.classifier.model.variables, middle)
            trainer.restore_running(resumed)
        elif name in session.progress.parked:
            assign_arrays(variables, kept[f"{name}: variables"])
            self._restore_parked(trainer, name)
            session.progress.current = session.progress.parked[name]
        with context.stop.deferred():
            if trainer.train(session, rung.until):
                kept[f"{name}: variables"] = read_arrays(variables)
                for kind, arrays in trainer.read_running().items():
                    kept[f"{name}: {kind}"] = arrays
                progress = session.progress
                progress.parked[name] = progress.current
                progress.current = StageProgress()
                progress.legs += 1
                session.save()

    def _get_trainer(self, candidate: Candidate) -> StageTrainer:
        """The trainer of a candidate, with the model at the start of all candidates."""
        session = self.session
        self._assign_start()
        if candidate.name not in self.trainers:
            stage = Stage(
                name=candidate.name,
                frees=candidate.mode,
                rate=self.settings.rate_factor,
                solved=False,
            )
            network = divide_classifier(
                session.classifier, stage, candidate.cut, session.feed, session.context
            )
            inputs = load_inputs(network, session.feed, session.context)
            self.trainers[candidate.name] = StageTrainer(network, inputs, session.context)
        return self.trainers[candidate.name]

    def _assign_start(self) -> None:
        """The pre-trained backbone with the solved head, from which every candidate begins."""
        classifier = self.session.classifier
        assign_arrays(classifier.model.variables, self.start)
        logits = classifier.head.get_layer("logits")
        assign_arrays(logits.variables, self.session.kept[PLAIN][:2])

    def _finish(self) -> None:
        """Choose the winner, and leave its weights in the model."""
        session, progress = self.session, self.session.progress
        judged = self._judge_finalists()
        labels = collect_labels(session.feed.splits.val)
        winner = choose_winner(judged, labels, session.context.gate.metric)
        candidate = self._find_candidate(winner.name)
        results = RaceResults(
            candidates=self.candidates,
            progress=progress,
            epochs=session.context.settings.epochs,
            judged=judged,
            labels=labels,
            metric=session.context.gate.metric,
        )
        facts = results.describe(winner)
        logger.info("%s", winner.reason)
        if candidate.mode != "none":
            trainer = self._restore_finalist(candidate)
            self._assign_start()
            refine(trainer, session, read_arrays(trainer.network.variables))
        elif candidate.pooling == session.classifier.spec.head.pooling:
            self._assign_start()
        else:
            assign_arrays(session.classifier.model.variables, self.start)
            session.replace_pooling(candidate.pooling)
            logits = session.classifier.head.get_layer("logits")
            assign_arrays(logits.variables, session.kept[STAGES][:2])
        progress.outcome = {
            "name": winner.name,
            "pooling": candidate.pooling,
            "reason": winner.reason,
            "candidates": facts,
        }
        # One candidate after the other, the winner last. A sort keeps the order of the epochs.
        names = [row["name"] for row in facts if not row["chosen"]]
        order = ["probe", *names, winner.name]
        progress.history.sort(key=lambda row: order.index(row["stage"]))
        session.kept.clear()
        with session.context.stop.deferred():
            session.end_stage(last=True)

    def _judge_finalists(self) -> list[Judged]:
        """The solved heads, and the candidates of the last rung at their best epochs."""
        judged = []
        finalists = self.session.progress.rungs[-1] if self.session.progress.rungs else []
        for candidate in self.candidates:
            if candidate.mode == "none":
                kind = STAGES if candidate.pooling == "stages" else PLAIN
                logits = self.session.kept[kind][2]
            elif candidate.name in finalists:
                trainer = self._restore_finalist(candidate)
                _, logits = trainer.judge()
            else:
                continue
            judged.append(Judged(candidate.name, candidate.work, logits))
        return judged

    def _restore_finalist(self, candidate: Candidate) -> StageTrainer:
        """The trainer of a candidate, with the weights of its best epoch in the model."""
        trainer = self._get_trainer(candidate)
        self._restore_parked(trainer, candidate.name)
        assign_arrays(trainer.network.variables, trainer.best[0])
        return trainer

    def _restore_parked(self, trainer: StageTrainer, name: str) -> None:
        """Give a trainer the optimizer and the best states that its candidate was parked with."""
        kept = self.session.kept
        trainer.restore_running({kind: kept[f"{name}: {kind}"] for kind in ("optimizer", "best")})
