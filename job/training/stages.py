"""The stages of a plan, one after the other."""

from dataclasses import dataclass, field
from typing import Any

from job.batches import Feed
from job.model import Classifier
from job.telemetry import HeadSolved
from job.training.context import TrainingContext
from job.training.head import SolvedHead, solve_head
from job.training.inputs import load_inputs
from job.training.loop import StageTrainer
from job.training.network import divide_classifier
from job.training.refinement import refine
from job.training.session import TrainingSession, assign_arrays, read_arrays
from job.training.stage_features import StageFeatures, load_stage_features
from job.transfer import Plan, Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """The outcome of training.

    Attributes:
        classifier: with its weights.
        plan: what was retrained and why.
        history: one row per epoch, or per penalty of a solved head, whose epoch is None.
        refinements: what was tried on the trained weights, and what it brought.
        candidates: of a race: how each of them did.
        exact: whether one kind of machine computed all of it. Only then would the same run give
            the same bytes.
    """

    # Two classifiers are compared by their weights.
    classifier: Classifier = field(compare=False)
    plan: Plan
    history: tuple[dict[str, Any], ...]
    refinements: tuple[dict[str, Any], ...]
    candidates: tuple[dict[str, Any], ...]
    exact: bool


def fit(classifier: Classifier, plan: Plan, feed: Feed, context: TrainingContext) -> Fitted:
    """Run the stages of a plan, from the latest checkpoint if there is one.

    Raises:
        DivergedError: a gradient is not finite.
        Interrupted: SIGTERM; the state is in the bucket.
        SettingsError: the GPU's memory is too small.
        TemporaryError: the workers do not start from one state.
    """
    session = TrainingSession(classifier=classifier, feed=feed, context=context)
    session.resume()
    for stage in plan.stages[session.progress.stage :]:
        if stage.solved:
            _run_probe(session)
        else:
            _run_steps(session, plan, stage)
        last = stage is plan.stages[-1]
        with context.stop.deferred():
            session.end_stage(last=last)
    return conclude(session, plan)


def conclude(session: TrainingSession, plan: Plan) -> Fitted:
    """What a session that is over has brought."""
    progress = session.progress
    return Fitted(
        classifier=session.classifier,
        plan=plan,
        history=tuple(progress.history),
        refinements=tuple(progress.refinements),
        candidates=tuple(progress.outcome.get("candidates", ())),
        exact=len(progress.fingerprints) == 1,
    )


def solve_plain_head(session: TrainingSession, features: StageFeatures) -> SolvedHead:
    """Solve the classifier's own head, and write each penalty into the history."""
    pooling = session.classifier.spec.head.pooling
    train = features.take_columns(features.train, pooling)
    val = features.take_columns(features.val, pooling)
    metric = session.context.gate.metric
    solved = solve_head(train, val, metric)
    session.progress.history += solved.rows
    (kept,) = [row for row in solved.rows if row["penalty"] == solved.probe.penalty]
    scores = {name: kept[name] for name in ("val_loss", f"val_{metric}")}
    session.context.telemetry.emit(HeadSolved("probe", solved.probe.penalty, scores))
    return solved


def _run_probe(session: TrainingSession) -> None:
    # One worker solves a head as fast as many: the others wait, and take what it finds.
    if not session.context.workers.chief:
        return
    features = load_stage_features(session.classifier, session.feed, session.context)
    probe = solve_plain_head(session, features).probe
    logits = session.classifier.head.get_layer("logits")
    assign_arrays(logits.variables, [probe.kernel, probe.bias])


def _run_steps(session: TrainingSession, plan: Plan, stage: Stage) -> None:
    context = session.context
    network = divide_classifier(session.classifier, stage, plan.cut, session.feed, context)
    # Not deferred: activations take minutes on a cold disk. What is complete is kept.
    inputs = load_inputs(network, session.feed, context)
    trainer = StageTrainer(network, inputs, context)
    if session.running:
        trainer.restore_running(session.running)
    else:
        session.kept["start"] = read_arrays(network.variables)
    with context.stop.deferred():
        if trainer.train(session, context.settings.epochs):
            # What follows can be repeated from here.
            session.save(trainer.read_running())
    session.running = {}
    refine(trainer, session, session.kept.pop("start"))
