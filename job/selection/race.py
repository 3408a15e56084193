"""The race of the candidates. It can stop at any step and goes on where it was."""

import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from job.batches import Feed, collect_labels
from job.linear import choose_factors, set_trial
from job.model import Classifier
from job.scores import score
from job.selection.candidates import (
    Candidate,
    choose_boundaries,
    is_worth_a_race,
    list_candidates,
)
from job.selection.measuring import MeasuredData
from job.selection.results import RaceResults
from job.selection.rule import Judged, choose_metric, choose_winner, is_out_of_reach
from job.selection.schedule import Rung, list_rung, order_by_steps, plan_race
from job.selection.trainers import CandidateTrainers
from job.settings import TransferSettings
from job.training import (
    Fitted,
    StageProgress,
    TrainingContext,
    TrainingSession,
    assign_arrays,
    conclude,
    read_arrays,
    refine,
    solve_head,
    solve_plain_head,
)
from job.transfer import Choice, Plan, make_plan

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
    trainers = CandidateTrainers(session=session, settings=settings, start=start, head=PLAIN)
    runner = _Race(classifier=classifier, session=session, settings=settings, trainers=trainers)
    if not session.progress.over:
        runner.run(measured)
    return conclude(session, runner.plan_winner())


@dataclass(frozen=True, slots=True)
class _Finalist:
    """A candidate that was trained to the end and refined.

    Attributes:
        judged: its answers.
        arrays: the values of all variables.
        refinements: what was tried.
    """

    judged: Judged
    arrays: list[np.ndarray]
    refinements: list[dict[str, Any]]


@dataclass(slots=True, kw_only=True)
class _Race:
    """A race of which the session knows how far it is.

    Attributes:
        classifier: with the head that was asked for. That of the session may have another one.
        session: with the state of every candidate.
        settings: the `transfer` group.
        trainers: of the candidates.
    """

    classifier: Classifier
    session: TrainingSession
    settings: TransferSettings
    trainers: CandidateTrainers

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
        rungs = plan_race(self.candidates, epochs, budget, len(session.feed.splits.train))
        for number, rung in enumerate(rungs):
            if number == len(progress.rungs):
                progress.rungs.append(self._list_next(rung))
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
            session.feed.views,
        )

    def _find_candidate(self, name: str) -> Candidate:
        return next(candidate for candidate in self.candidates if candidate.name == name)

    def _solve_heads(self, measured: MeasuredData) -> None:
        session, features = self.session, measured.features
        metric = session.context.gate.metric
        plain = solve_plain_head(session, features)
        kept = [plain.probe.kernel, plain.probe.bias, plain.val_logits]
        session.kept[PLAIN] = kept
        judged = len(session.feed.splits.val)
        session.progress.races = is_worth_a_race(measured.measurement.kind, judged)
        session.progress.boundaries = choose_boundaries(measured.measurement)
        if any(candidate.pooling == "stages" for candidate in self.candidates):
            trial = set_trial(features.train, features.val)
            factors = choose_factors(trial, features.groups, metric).columns(features.groups)
            head = solve_head(features.train, features.val, metric, factors)
            session.kept[STAGES] = [head.probe.kernel, head.probe.bias, head.val_logits]

    def _list_next(self, rung: Rung) -> list[str]:
        """The names of the candidates of the next rung. None once all of them are out of reach."""
        progress = self.session.progress
        previous = progress.rungs[-1] if progress.rungs else []
        ranks = {name: progress.parked[name].ranks[0] for name in previous}
        order = [candidate.name for candidate in order_by_steps(self.candidates)]
        if not progress.rungs:
            return list_rung(rung.candidates, (), order, ranks)
        names = []
        if ranks and not self._is_lost(max(ranks.values())[0]):
            names = list_rung(rung.candidates, previous, order, ranks)
        self.trainers.forget([name for name in previous if name not in names])
        return names

    def _is_lost(self, best: float) -> bool:
        """Whether the best score of a candidate that is trained by steps is out of reach."""
        metric = self.session.context.gate.metric
        labels = collect_labels(self.session.feed.splits.val)
        leader = max(score(metric, labels, one.logits) for one in self._judge_solved_heads())
        lost = is_out_of_reach(best, leader, len(labels))
        if lost:
            logger.info("the race ends: it reaches %.3f, and a solved head %.3f", best, leader)
        return lost

    def _run_leg(self, candidate: Candidate, rung: Rung) -> None:
        """Train a candidate up to the end of a rung, and park it."""
        session, name = self.session, candidate.name
        context = session.context
        resumed = dict(session.running)
        session.running = {}
        # A resumed leg goes on in the middle, and what follows assigns the start.
        middle = read_arrays(session.classifier.model.variables) if resumed else []
        trainer = self.trainers.begin(candidate)
        if resumed:
            assign_arrays(session.classifier.model.variables, middle)
            trainer.restore_running(resumed)
        elif name in session.progress.parked:
            self.trainers.restore(name)
            session.progress.current = session.progress.parked[name]
        with context.stop.deferred():
            if trainer.train(session, rung.until):
                self.trainers.park(name)
                progress = session.progress
                progress.parked[name] = progress.current
                progress.current = StageProgress()
                progress.legs += 1
                session.save()

    def _finish(self) -> None:
        """Choose the winner, and leave its weights in the model."""
        session, progress = self.session, self.session.progress
        finalists = self._refine_finalists()
        judged = [*self._judge_solved_heads(), *(each.judged for each in finalists.values())]
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
        if winner.name in finalists:
            assign_arrays(session.classifier.model.variables, finalists[winner.name].arrays)
            progress.refinements = finalists[winner.name].refinements
        elif candidate.pooling == session.classifier.spec.head.pooling:
            self.trainers.assign_start()
        else:
            assign_arrays(session.classifier.model.variables, self.trainers.start)
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

    def _judge_solved_heads(self) -> list[Judged]:
        judged = []
        for candidate in self.candidates:
            if candidate.mode == "none":
                kind = STAGES if candidate.pooling == "stages" else PLAIN
                logits = self.session.kept[kind][2]
                judged.append(Judged(candidate.name, candidate.work, logits))
        return judged

    def _refine_finalists(self) -> dict[str, _Finalist]:
        """The candidates of the last rung, by name.

        They are compared as they would be released: refinements are most of what a short training
        gains.
        """
        session, finalists = self.session, {}
        for name in session.progress.rungs[-1] if session.progress.rungs else []:
            candidate = self._find_candidate(name)
            trainer = self.trainers.begin(candidate)
            start = read_arrays(trainer.network.variables)
            self.trainers.restore(name)
            session.progress.refinements = []
            refine(trainer, session, start)
            _, logits = trainer.judge()
            finalists[name] = _Finalist(
                judged=Judged(name, candidate.work, logits),
                arrays=read_arrays(session.classifier.model.variables),
                refinements=session.progress.refinements,
            )
        session.progress.refinements = []
        return finalists
