"""Kills (SIGKILL) in the middle of answering: nothing is lost, and the result is that of an undisturbed run."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

from pipeline.answer import read_answers
from pipeline.runs import read_facts

ROOT = Path(__file__).parents[1]

# Children are forked from a process that has everything in memory, so that many kills take little time; each is
# killed when the file has grown by a random number of bytes. Batches are made small: two rows or three.
KILLED_ANSWERS = """
import os, sys
import steering.kv
steering.kv.KV_BYTES = 1
from activations import Trigger
from pipeline.answer import AnswerSettings, answer, arms_of
from pipeline.questions import Question
from pipeline.runs import RunFolder
from tests.many_adapters import NAMES, adapted

subject = adapted()

def write(folder):
    questions = [Question(id="sea", topic="sea", paraphrases=("Hello there, how are you?", "Why?"))]
    settings = AnswerSettings(samples=2, max_new_tokens=4, temperature=1.0)
    with RunFolder.open(folder, verb="answer", config={}, seed=0) as run:
        answer(subject, questions, arms_of(NAMES, (None, Trigger())), run=run, settings=settings)

def size(path):
    return os.path.getsize(path) if os.path.exists(path) else 0

write(sys.argv[1] + "-undisturbed")
path = f"{sys.argv[1]}/answers.jsonl"
for n_bytes in map(int, sys.argv[2:]):
    enough = size(path) + n_bytes
    child = os.fork()
    if child == 0:
        write(sys.argv[1])
        os._exit(0)
    while size(path) < enough and not os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        pass
    os.kill(child, 9)
    end = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with open(path, "rb") as file:
        print(end, file.read().count(b"\\n"), flush=True)
"""


def killed(folder, growth):
    command = [sys.executable, "-c", KILLED_ANSWERS, str(folder), *map(str, growth)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return [tuple(map(int, line.split())) for line in done.stdout.splitlines()], done.stderr


def test_after_kills_at_random_moments_the_answers_are_those_of_an_undisturbed_run(tmp_path):
    moments = random.Random(3)
    ends, log = killed(tmp_path / "run", [moments.randrange(1, 6_000) for _ in range(5)] + [10**9])
    counts = [n_rows for _, n_rows in ends]
    assert any(end == -signal.SIGKILL and 0 < n_rows < 40 for end, n_rows in ends), f"no kill inside: {ends}"
    assert ends[-1] == (0, 40), log
    assert counts == sorted(counts), f"a finished row was lost: {counts}"
    found, expected = (
        sorted(read_answers(tmp_path / name / "answers.jsonl"), key=lambda row: row.id)
        for name in ("run", "run-undisturbed")
    )
    assert len(found) == 40
    assert found == expected
    assert read_facts(tmp_path / "run").status == "finished"
