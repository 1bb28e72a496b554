from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import threading
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from toys import (
    K,
    assert_equal,
    noisy_labels,
    snapshot,
    toy_corpus,
    toy_evaluate,
    toy_network,
    toy_settings,
    without_timings,
)

from spacy_maral.adaptation.progressive import Adaptation
from spacy_maral.data import files
from spacy_maral.errors import MaralError
from spacy_maral.training import checkpoint as checkpoint_module
from spacy_maral.training import loop
from spacy_maral.training.checkpoint import list_checkpoints, load_checkpoint
from spacy_maral.training.interrupts import Interrupted
from spacy_maral.training.loop import Hook, Run
from spacy_maral.training.settings import AdaptationSettings
from spacy_maral.training.shares import Share
from spacy_maral.training.steps import plan_epoch
from spacy_maral.training.streams import Stream, source_stream

SCORES = {"dev_precision": 0.0, "dev_recall": 0.0, "dev_f1": 0.0}


def make_run(folder, *, network=None, hooks=(), evaluate=None, streams=None, **changed) -> Run:
    settings = toy_settings(**changed)
    return Run(
        network=network or toy_network(),
        streams=streams or [source_stream(Share.of(toy_corpus()), K, settings.prior_scale)],
        settings=settings,
        evaluate=evaluate or toy_evaluate(toy_corpus(12, seed=9)),
        folder=folder,
        fingerprint={"[student]": "a1", "source": "b2"},
        seed=4,
        hooks=hooks,
    )


@dataclass
class Watch(Hook):
    """Notes what happens; stops the run in the given epoch, before or after its checkpoint."""

    stop_after: int = -1
    stop_in: int = -1

    def __post_init__(self):
        self.events, self.docs, self.weights = [], [], []
        self.network = None

    def on_epoch_start(self, epoch):
        self.events.append(("start", epoch))
        self.docs.append({})

    def on_step(self, report):
        self.events.append(("step", report.epoch))
        self.docs[-1].setdefault(report.stream.name, []).extend(report.batch.docs.tolist())
        if report.epoch == self.stop_in and len(self.docs[-1][report.stream.name]) > 5:
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch):
        self.events.append(("end", epoch))
        if self.network is not None:
            self.weights.append(snapshot(self.network))
        return {"noted": epoch}

    def on_row(self, row):
        self.events.append(("row", row["epoch"] - 1))
        if row["epoch"] - 1 == self.stop_after:
            raise KeyboardInterrupt


def test_training_learns_the_toy_language(tmp_path):
    streams = [source_stream(Share.of(toy_corpus(80)), K, 1.0)]
    rows = make_run(tmp_path, streams=streams, epochs=4, batch_tokens=32).train(resume=False)
    assert rows[-1]["losses"]["source"] < 0.5 * rows[0]["losses"]["source"]
    assert rows[-1]["dev_f1"] > 0.8
    assert rows[-1]["kappa"][0] > 0


def test_the_log_has_a_row_an_epoch(tmp_path):
    watch = Watch()
    run = make_run(tmp_path / "new", hooks=[watch])
    rows = run.train(resume=False)
    lines = (tmp_path / "new" / "log.jsonl").read_text(encoding="utf8").splitlines()
    assert [json.loads(line) for line in lines] == rows
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert all(row["noted"] == row["epoch"] - 1 and row["seconds"] > 0 for row in rows)
    steps = [row["steps"] for row in rows]
    assert steps == run.epoch_steps
    expected = []
    for epoch in range(3):
        expected += [("start", epoch), *[("step", epoch)] * steps[epoch]]
        expected += [("end", epoch), ("row", epoch)]
    assert watch.events == expected
    assert not run.network.training


def test_class_counts_start_anew_each_epoch(tmp_path):
    network = toy_network()
    corpus = toy_corpus()
    make_run(tmp_path, network=network, epochs=2).train(resume=False)
    statistics = network.span_model.statistics
    in_an_epoch = torch.from_numpy(np.bincount(corpus.classes, minlength=K))
    assert torch.equal(statistics.seen, 2 * in_an_epoch)
    torch.testing.assert_close(statistics.count, 100.0 + in_an_epoch.double())


# steps


class FixedShare(Share):
    """A share whose batches are given as `batches`."""


@pytest.fixture(autouse=True)
def given_batches(monkeypatch):
    """Let runs take the batches of a FixedShare."""

    def plan(shares, settings, seed, epoch):
        if not any(isinstance(share, FixedShare) for share in shares):
            return plan_epoch(shares, settings, seed, epoch)
        return list(zip(*(share.batches for share in shares), strict=True))

    monkeypatch.setattr(loop, "plan_epoch", plan)


def fixed(batches, corpus) -> Stream:
    """A stream whose batches are given."""
    share = FixedShare(*Share.of(corpus))
    share.batches = [np.array(batch) for batch in batches]
    return source_stream(share, K, 1.0)


def gradients_of(tmp_path, batches, accumulate):
    corpus = toy_corpus(8, n_words=(6, 6))
    network = toy_network(dropout=0.0)
    # the linear head's loss does not depend on the class statistics, which move at every batch
    run = make_run(
        tmp_path, network=network, streams=[fixed(batches, corpus)], accumulate=accumulate,
        loss="cross_entropy", epochs=1, grad_clip=1e9,
    )  # fmt: skip
    steps = []

    def note(optimiser, args, kwargs):
        steps.append(
            {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}
        )

    run.optimiser.register_step_pre_hook(note)
    run.train(resume=False)
    return steps


def test_accumulated_batches_are_one_big_batch(tmp_path):
    (big,) = gradients_of(tmp_path / "a", [range(8)], 1)
    (small,) = gradients_of(tmp_path / "b", [range(4), range(4, 8)], 2)
    assert big.keys() == small.keys() and len(big) > 20
    for name, gradient in big.items():
        torch.testing.assert_close(small[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_the_last_group_of_batches_is_not_lost(tmp_path):
    steps = gradients_of(tmp_path, [range(i, i + 2) for i in (0, 2, 4, 6, 0)], 2)
    assert len(steps) == 3
    assert all(gradient.isfinite().all() for gradient in steps[-1].values())


def test_gradients_are_clipped_together(tmp_path):
    corpus = toy_corpus(4)
    network = toy_network()
    run = make_run(
        tmp_path, network=network, streams=[fixed([range(4)], corpus)], grad_clip=1e-3, epochs=1
    )
    norms = []
    run.optimiser.register_step_pre_hook(
        lambda *_: norms.append(
            torch.stack([p.grad.norm() for p in network.parameters() if p.grad is not None]).norm()
        )
    )
    run.train(resume=False)
    assert norms[0].item() == pytest.approx(1e-3, rel=1e-3)


def test_the_longest_stream_is_passed_over_once(tmp_path):
    watch = Watch()
    streams = [
        source_stream(Share.of(toy_corpus(5, seed=1)), K, 1.0), source_stream(Share.of(toy_corpus(13, seed=2)), K, 1.0)
    ]  # fmt: skip
    streams[1].name = "target"
    make_run(tmp_path, streams=streams, hooks=[watch], batch_docs=1, epochs=2).train(resume=False)
    for docs in watch.docs:
        assert sorted(docs["target"]) == list(range(13))
        assert len(docs["source"]) == 13
        counts = np.bincount(docs["source"], minlength=5)
        assert counts.min() >= 2 and counts.max() <= 3
        # each further pass has its own order
        assert docs["source"][:5] != docs["source"][5:10]
    assert watch.docs[0]["target"] != watch.docs[1]["target"]


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    corpus = toy_corpus(8)
    network = toy_network()

    class Poison(Hook):
        def on_step(self, report):
            if report.epoch == 1:
                with torch.no_grad():
                    network.encoder.embeddings.word_embeddings.weight.fill_(torch.nan)

    streams = [fixed([[0, 1], [6, 3], [4]], corpus)]
    run = make_run(tmp_path, network=network, streams=streams, hooks=[Poison()])
    with pytest.raises(MaralError, match=r"step 2 of epoch 2 \(source documents 6, 3\)") as error:
        run.train(resume=False)
    assert f"the last checkpoint is {tmp_path / 'epoch-0001'}" in str(error.value)
    checkpoint = load_checkpoint(tmp_path)
    assert checkpoint.epoch == 1
    assert all(t.isfinite().all() for t in checkpoint.tensors.values() if t.is_floating_point())


def test_a_loss_that_is_never_finite_leaves_no_checkpoint(tmp_path):
    network = toy_network()
    with torch.no_grad():
        network.span_model.hidden.weight.fill_(torch.inf)
    run = make_run(tmp_path, network=network, streams=[fixed([range(8)], toy_corpus(8))])
    with pytest.raises(MaralError, match=r"M310.*no checkpoint yet") as error:
        run.train(resume=False)
    assert "step 1 of epoch 1 (source documents 0, 1, 2, 3, 4, 5, 6, 7)" in str(error.value)


class BadGradients(Hook):
    """Makes a gradient infinite after some of the backward passes."""

    def __init__(self, network, when):
        self.weight, self.when, self.calls = network.span_model.hidden.weight, when, 0

    def on_step(self, report):
        self.calls += 1
        if self.when(self.calls):
            self.weight.grad[0, 0] = torch.inf


def test_gradients_that_are_not_finite_stop_the_run(tmp_path):
    network = toy_network()
    streams = [fixed([[0, 1], [2], [6, 3], [4]], toy_corpus(8))]
    # the loss is finite: only the gradients tell
    hook = BadGradients(network, lambda calls: calls == 7)
    run = make_run(tmp_path, network=network, streams=streams, hooks=[hook], accumulate=2)
    message = r"M321.*step 4 of epoch 2 \(source documents 6, 3; source documents 4\).*epoch-0001"
    with pytest.raises(MaralError, match=message):
        run.train(resume=False)
    assert all(parameter.isfinite().all() for parameter in network.parameters())


def scaled_run(folder, when) -> Run:
    network = toy_network()
    streams = [fixed([[0, 1], [2], [6, 3], [4]] * 10, toy_corpus(8))]
    hook = BadGradients(network, when)
    run = make_run(folder, network=network, streams=streams, hooks=[hook], epochs=2)
    run.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    return run


def test_scaled_gradients_may_overflow_now_and_then(tmp_path):
    run = scaled_run(tmp_path, lambda calls: calls % 10 == 3)
    run.train(resume=False)
    assert run.scaler.get_scale() == 1024.0 / 2**8
    assert all(parameter.isfinite().all() for parameter in run.network.parameters())
    # the scale is that of the checkpoint
    resumed = scaled_run(tmp_path, lambda calls: False)
    resumed.train(resume=True)
    assert resumed.scaler.get_scale() == run.scaler.get_scale()


def test_gradients_that_overflow_at_any_scale_stop_the_run(tmp_path):
    with pytest.raises(MaralError, match=r"M325.*step 24 of epoch 1 .*no checkpoint yet"):
        scaled_run(tmp_path, lambda calls: True).train(resume=False)


# selection


@pytest.mark.parametrize(
    ("select", "scores", "chosen"),
    [
        ("source_dev", [0.2, 0.9, 0.5], 1),
        ("source_dev", [0.9, 0.9, 0.5], 1),
        ("source_dev", [0.0, 0.0, 0.0], 2),
        ("source_dev", [0.9, 0.1, 0.2], 0),
        ("last", [0.2, 0.9, 0.5], 2),
    ],
)
def test_selection(tmp_path, select, scores, chosen):
    network, left = toy_network(), iter(scores)
    watch = Watch()
    watch.network = network
    run = make_run(
        tmp_path, network=network, hooks=[watch], select=select,
        evaluate=lambda _: {"score": next(left), **SCORES},
    )  # fmt: skip
    run.train(resume=False)
    assert_equal(snapshot(network), watch.weights[chosen])
    assert not torch.equal(
        watch.weights[0]["span_model.hidden.weight"], watch.weights[1]["span_model.hidden.weight"]
    )


def test_weights_of_the_best_epoch_that_are_gone_are_missed(tmp_path):
    left = iter([0.9, 0.1, 0.2])

    class Lose(Hook):
        def on_row(self, row):
            if row["epoch"] == 3:
                run.best_file.unlink()

    run = make_run(
        tmp_path, hooks=[Lose()], select="source_dev",
        evaluate=lambda _: {"score": next(left), **SCORES},
    )  # fmt: skip
    with pytest.raises(MaralError, match=r"M319.*weights of the best epoch"):
        run.train(resume=False)


# resuming


@pytest.mark.parametrize("reset_means", [True, False])
def test_class_means_forget_earlier_epochs_if_asked(tmp_path, reset_means):
    run = make_run(tmp_path, epochs=3, reset_means=reset_means)
    run.train(resume=False)
    statistics = run.network.span_model.statistics
    counted = statistics.count - statistics.pseudo_count
    assert statistics.seen.min() > 0
    assert (counted == statistics.seen / (3 if reset_means else 1)).all()


def adaptation_run(folder, *, hooks=(), features="training", **changed):
    settings = toy_settings(epochs=4, select="source_dev", **changed)
    source, target = toy_corpus(16, seed=1), toy_corpus(20, seed=2)
    pseudo = noisy_labels(target, target.classes, noise=0.3, seed=0)
    network = toy_network(3)
    hook = Adaptation(
        network, Share.of(source), Share.of(target), pseudo, training=settings, seed=5,
        settings=AdaptationSettings(
            warmup_epochs=1, neighbours=10, filter_limit="none", filter_outside=1.0, alpha_start=0.6, alpha_end=0.4, diagnose_with_gold=True,
            features=features, target_labels="hard", target_prior_scale=1.0,
        ),
    )  # fmt: skip
    run = Run(
        network=network, streams=[hook.source, hook.target], settings=settings,
        evaluate=toy_evaluate(toy_corpus(10, seed=9)), folder=folder,
        fingerprint={"source": "b2"}, seed=4, hooks=[hook, *hooks],
    )  # fmt: skip
    return run, hook


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    run, hook = adaptation_run(tmp_path_factory.mktemp("unbroken"), hooks=[Watch()])
    run.train(resume=False)
    return run, hook


@pytest.mark.parametrize(
    "stop",
    [{"stop_after": epoch} for epoch in range(4)] + [{"stop_in": epoch} for epoch in range(4)],
    ids=str,
)
def test_a_resumed_run_is_the_unbroken_one_bitwise(unbroken, tmp_path, stop):
    run, _ = adaptation_run(tmp_path, hooks=[Watch(**stop)])
    with pytest.raises(KeyboardInterrupt):
        run.train(resume=False)
    torch.manual_seed(12345)
    resumed, hook = adaptation_run(tmp_path, hooks=[Watch()])
    rows = resumed.train(resume=True)
    whole, whole_hook = unbroken
    # no features: they belong to an epoch, which is over
    assert set(whole_hook.arrays()) == {"probabilities", "reliable"}
    assert without_timings(rows) == without_timings(whole.log)
    assert_equal(snapshot(resumed.network), snapshot(whole.network))
    for name, array in whole_hook.arrays().items():
        assert (hook.arrays()[name] == array).all(), name
    assert rows[-1]["changed"] == 0 and rows[1]["changed"] > 0
    log = (tmp_path / "log.jsonl").read_text(encoding="utf8").splitlines()
    assert [json.loads(line)["epoch"] for line in log] == [1, 2, 3, 4]


class StopInSecondStep(Hook):
    """Stops a run in the second step that it does in an epoch, also of a resumed one."""

    def on_epoch_start(self, epoch):
        self.steps = 0

    def on_step(self, report):
        self.steps += report.stream.name == "source"
        if report.epoch == 2 and self.steps == 2:
            raise KeyboardInterrupt


def test_a_run_may_stop_twice_in_one_epoch(unbroken, tmp_path):
    """The checkpoint of a resumed epoch has the features of the steps before, too."""
    for resume in (False, True):
        run, _ = adaptation_run(tmp_path, hooks=[StopInSecondStep()], checkpoint_minutes=1e-9)
        with pytest.raises(KeyboardInterrupt):
            run.train(resume=resume)
        assert "-step-" in list_checkpoints(tmp_path)[-1].name
    resumed, hook = adaptation_run(tmp_path)
    resumed.train(resume=True)
    whole, whole_hook = unbroken
    assert_equal(snapshot(resumed.network), snapshot(whole.network))
    for name, array in whole_hook.arrays().items():
        assert (hook.arrays()[name] == array).all(), name


def test_a_run_is_resumed_from_the_checkpoint_before_a_damaged_one(unbroken, tmp_path):
    run, _ = adaptation_run(tmp_path, hooks=[Watch(stop_after=2)])
    with pytest.raises(KeyboardInterrupt):
        run.train(resume=False)
    newest = list_checkpoints(tmp_path)[-1]
    (newest / "tensors.safetensors").write_bytes(b"")
    watch = Watch()
    resumed, _ = adaptation_run(tmp_path, hooks=[watch])
    resumed.train(resume=True)
    assert watch.events[0] == ("start", 2)
    assert_equal(snapshot(resumed.network), snapshot(unbroken[0].network))


def test_resuming_without_a_checkpoint_starts_anew(unbroken, tmp_path):
    run, _ = adaptation_run(tmp_path, hooks=[Watch()])
    run.train(resume=True)
    assert_equal(snapshot(run.network), snapshot(unbroken[0].network))


def test_another_seed_gives_other_weights(unbroken, tmp_path):
    run, _ = adaptation_run(tmp_path, hooks=[Watch()])
    run.seed = 99
    run.train(resume=False)
    name = "span_model.hidden.weight"
    assert not torch.equal(snapshot(run.network)[name], snapshot(unbroken[0].network)[name])


@pytest.mark.parametrize(("key", "value"), [("source", "other"), ("[student]", None)])
def test_a_run_is_not_resumed_with_something_else(tmp_path, key, value):
    run = make_run(tmp_path, hooks=[Watch(stop_after=0)])
    with pytest.raises(KeyboardInterrupt):
        run.train(resume=False)
    again = make_run(tmp_path)
    again.fingerprint = {k: v for k, v in {**run.fingerprint, key: value}.items() if v}
    before = snapshot(again.network)
    with pytest.raises(MaralError, match="cannot be resumed") as error:
        again.train(resume=True)
    shown = str(error.value).split("\n")[1]
    assert shown == f'  {key}: "{run.fingerprint[key]}" is now ' + (
        f'"{value}"' if value else "not set"
    )
    assert_equal(snapshot(again.network), before)


def test_a_run_is_not_resumed_on_another_encoder(tmp_path):
    def run_of(seed, **changed):
        network = toy_network(seed)
        network.freeze(embeddings=True, layers=1)
        return make_run(tmp_path, network=network, **changed)

    with pytest.raises(KeyboardInterrupt):
        run_of(0, hooks=[Watch(stop_after=0)]).train(resume=False)
    with pytest.raises(MaralError, match=r"M311.*\n  frozen layers: "):
        run_of(1).train(resume=True)
    assert len(run_of(0).train(resume=True)) == 3


# stopping and saving within an epoch


class Signal(Hook):
    """Sends this process a signal after so many passes, and again after so many more."""

    def __init__(self, signum, after, again=None):
        self.signum, self.moments, self.calls = signum, {after, again}, 0

    def on_step(self, report):
        self.calls += 1
        if self.calls in self.moments:
            os.kill(os.getpid(), self.signum)


@pytest.mark.parametrize("after", [1, 2, 7, 19])
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_saves_and_goes_on(unbroken, tmp_path, caplog, signum, after):
    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    run, _ = adaptation_run(tmp_path, hooks=[Watch(), Signal(signum, after)])
    with pytest.raises(Interrupted) as stopped:
        run.train(resume=False)
    assert stopped.value.exit_code == 128 + signum
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == handlers
    (newest,) = list_checkpoints(tmp_path)[-1:]
    # two streams a step
    done = (after + 1) // 2
    epoch, step = divmod(done, run.epoch_steps[0])
    assert newest.name == f"epoch-{epoch:04d}-step-{step:07d}"
    assert f"after step {step} of epoch {epoch + 1}" in str(stopped.value)
    assert str(newest) in str(stopped.value) and "--resume" in str(stopped.value)
    assert any("W305" in record.getMessage() for record in caplog.records)
    assert not list(tmp_path.glob("*.tmp"))
    torch.manual_seed(12345)
    watch = Watch()
    resumed, hook = adaptation_run(tmp_path, hooks=[watch])
    rows = resumed.train(resume=True)
    assert watch.events[0] == ("start", epoch)
    assert watch.events.count(("step", epoch)) == 2 * (run.epoch_steps[epoch] - step)
    whole, whole_hook = unbroken
    assert without_timings(rows) == without_timings(whole.log)
    assert_equal(snapshot(resumed.network), snapshot(whole.network))
    for name, array in whole_hook.arrays().items():
        assert (hook.arrays()[name] == array).all(), name


def test_who_asks_twice_is_not_kept_waiting(unbroken, tmp_path):
    run, _ = adaptation_run(tmp_path, hooks=[Signal(signal.SIGINT, 21, 22)])
    run.settings = run.settings.model_copy(update={"accumulate": 1000})
    with pytest.raises(KeyboardInterrupt) as stopped:
        run.train(resume=False)
    assert not isinstance(stopped.value, Interrupted)
    resumed, _ = adaptation_run(tmp_path)
    resumed.train(resume=True)
    assert len(resumed.log) == 4


def test_a_run_is_stopped_at_the_end_of_an_epoch(unbroken, tmp_path):
    class Late(Hook):
        def on_epoch_end(self, epoch):
            if epoch == 1:
                os.kill(os.getpid(), signal.SIGINT)
            return {}

    run, _ = adaptation_run(tmp_path, hooks=[Late()])
    with pytest.raises(Interrupted, match=f"W306.*after epoch 2.*{tmp_path / 'epoch-0002'}"):
        run.train(resume=False)
    resumed, _ = adaptation_run(tmp_path)
    resumed.train(resume=True)
    assert_equal(snapshot(resumed.network), snapshot(unbroken[0].network))


def test_an_update_is_not_cut_in_two(tmp_path):
    run, _ = adaptation_run(tmp_path / "whole", accumulate=2)
    run.train(resume=False)
    stopped, _ = adaptation_run(tmp_path / "a", hooks=[Signal(signal.SIGINT, 1)], accumulate=2)
    with pytest.raises(Interrupted, match="after step 2 of epoch 1"):
        stopped.train(resume=False)
    resumed, _ = adaptation_run(tmp_path / "a", accumulate=2)
    resumed.train(resume=True)
    assert_equal(snapshot(resumed.network), snapshot(run.network))


@pytest.mark.parametrize("features", ["training", "clean"])
def test_a_run_saves_within_epochs(tmp_path, features):
    whole, _ = adaptation_run(tmp_path / "whole", features=features)
    whole.train(resume=False)
    saved = []

    class Look(Hook):
        def on_step(self, report):
            saved.extend(p.name for p in list_checkpoints(tmp_path / "a"))
            if len(set(saved)) == 10:
                raise KeyboardInterrupt

    broken, _ = adaptation_run(
        tmp_path / "a", hooks=[Look()], checkpoint_minutes=1e-9, features=features
    )
    with pytest.raises(KeyboardInterrupt):
        broken.train(resume=False)
    names = sorted(set(saved))
    first = broken.epoch_steps[0]
    assert names[: first + 1] == [
        *(f"epoch-0000-step-{step:07d}" for step in range(1, first + 1)), "epoch-0001"
    ]  # fmt: skip
    assert len(list_checkpoints(tmp_path / "a")) == 2
    # how often a run saves may change
    resumed, _ = adaptation_run(tmp_path / "a", features=features)
    resumed.train(resume=True)
    assert_equal(snapshot(resumed.network), snapshot(whole.network))
    assert without_timings(resumed.log) == without_timings(whole.log)


def test_no_state_is_saved_within_epochs_unless_asked_for(tmp_path):
    class Look(Hook):
        def on_step(self, report):
            assert all("step" not in p.name for p in tmp_path.iterdir())

    adaptation_run(tmp_path, hooks=[Look()])[0].train(resume=False)


def test_a_run_in_a_thread_is_not_stopped_by_signals(tmp_path):
    handlers = []

    class Look(Hook):
        def on_step(self, report):
            handlers.append(signal.getsignal(signal.SIGINT))

    run = make_run(tmp_path, hooks=[Look()], epochs=1)
    thread = threading.Thread(target=run.train, kwargs={"resume": False})
    thread.start()
    thread.join()
    assert len(run.log) == 1 and set(handlers) == {signal.getsignal(signal.SIGINT)}


def test_a_handler_of_somebody_else_is_left_alone(tmp_path):
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
    try:
        make_run(tmp_path, hooks=[Signal(signal.SIGTERM, 2)], epochs=1).train(resume=False)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [1]


# a disk that is full


class Full(OSError):
    def __init__(self) -> None:
        super().__init__(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    "writer", ["save_file", "np.savez", "sha256", "_sync", "os.replace", "copyfile", "write_text"]
)
def test_a_full_disk_ends_the_run_and_leaves_the_checkpoint(
    unbroken, tmp_path, monkeypatch, writer
):
    """The disk is full within epoch 3; with some of a file written if the writer writes."""
    run, _ = adaptation_run(tmp_path)
    owners = {
        "_sync": files,
        "copyfile": shutil,
        "np.savez": np,
        "os.replace": os,
        "write_text": loop,
    }
    owner, name = owners.get(writer, checkpoint_module), writer.split(".")[-1]
    original = getattr(owner, name)

    def fail(*args, **kwargs):
        if len(run.log) < 3:
            return original(*args, **kwargs)
        if writer == "save_file":
            args[1].write_bytes(b"half")
        elif writer == "np.savez":
            args[0].write(b"half")
        raise Full

    monkeypatch.setattr(owner, name, fail)
    with pytest.raises(
        MaralError, match=r"M322.*No space left.*--resume; the last checkpoint"
    ) as e:
        run.train(resume=False)
    monkeypatch.undo()
    assert str(tmp_path) in str(e.value)
    newest = list_checkpoints(tmp_path)[-1].name
    assert newest == ("epoch-0003" if writer == "write_text" else "epoch-0002")
    assert not list(tmp_path.glob("*epoch-*.tmp"))
    resumed, _ = adaptation_run(tmp_path)
    resumed.train(resume=True)
    assert_equal(snapshot(resumed.network), snapshot(unbroken[0].network))
    lines = (tmp_path / "log.jsonl").read_text(encoding="utf8").splitlines()
    assert len(lines) == 4


def test_a_full_disk_while_the_best_weights_are_kept_is_named(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise Full

    monkeypatch.setattr(loop, "save_tensors", fail)
    with pytest.raises(MaralError, match=r"M322.*No space left"):
        make_run(tmp_path, select="source_dev", epochs=1).train(resume=False)
