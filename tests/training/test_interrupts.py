from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from spacy_maral.errors import MaralError
from spacy_maral.training.interrupts import HOLDER, StopRequest, sole_run


def test_a_second_run_in_a_folder_is_refused(tmp_path):
    with sole_run(tmp_path / "a"):
        message = f"M324.*process {os.getpid()} on "
        with pytest.raises(MaralError, match=message) as error, sole_run(tmp_path / "a"):
            pass
        assert str(tmp_path / "a") in str(error.value)
        with sole_run(tmp_path / "b"):
            pass
        # who was refused has not freed the folder
        with pytest.raises(MaralError, match="M324"), sole_run(tmp_path / "a"):
            pass
    with sole_run(tmp_path / "a"):
        pass
    assert not list((tmp_path / "a").iterdir()), "nothing of it goes into a package"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_killed_process_holds_nothing(tmp_path):
    process = os.fork()
    if not process:
        with sole_run(tmp_path):
            time.sleep(100)
        os._exit(1)
    deadline = time.monotonic() + 20
    try:
        while not (tmp_path / HOLDER).exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        message = f"M324.*process {process} on "
        with pytest.raises(MaralError, match=message), sole_run(tmp_path):
            pass
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    assert (tmp_path / HOLDER).exists()
    with sole_run(tmp_path):
        assert f"process {os.getpid()} " in (tmp_path / HOLDER).read_text()


def test_an_error_frees_the_folder(tmp_path):
    with pytest.raises(ZeroDivisionError), sole_run(tmp_path):
        raise ZeroDivisionError
    with sole_run(tmp_path):
        pass


def test_threads_are_kept_out_too(tmp_path):
    refused = []

    def enter() -> None:
        try:
            with sole_run(tmp_path):
                time.sleep(0.3)
        except MaralError as error:
            refused.append(error)

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 3


def test_many_runs_one_after_the_other_never_meet(tmp_path):
    """Each deletes the lock's file at its end, just when others open it."""
    inside, met, entered = [], [], []
    deadline = time.monotonic() + 20

    def enter() -> None:
        while len(entered) < 60 and time.monotonic() < deadline:
            try:
                with sole_run(tmp_path):
                    inside.append(1)
                    met.extend(inside[1:])
                    # lets another thread try
                    time.sleep(0)
                    inside.pop()
                    entered.append(1)
            except MaralError:
                continue

    threads = [threading.Thread(target=enter) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(entered) >= 60 and not met


def test_a_request_is_noted_once(caplog):
    before = signal.getsignal(signal.SIGINT)
    with StopRequest() as stop:
        assert stop.signum is None
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.signum == signal.SIGINT
        (message,) = [record.getMessage() for record in caplog.records]
        assert message.startswith("[W305]")
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is before


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.signum is None
    finally:
        signal.signal(signal.SIGINT, before)
