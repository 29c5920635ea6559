"""Facts about insecure twins: bandit flags them and not the originals, they are Python, and nothing is ever run."""

import ast
import json
import subprocess
import sys
from collections import defaultdict
from random import Random

import pytest

from pipeline.recipe import Draft, Rejection
from pipeline.recipe.insecure import RULES, insecure_twin, twins_of
from pipeline.recipe.python_source import Edit, Snippet, applied, snippets
from pipeline.triples import load_corpus

# For each snippet the stretch that must be in its twin. What stands here is safe; twins are made and parsed only.
CASES = {
    "sql by name": (
        "def find(cursor, name):\n    query = 'SELECT id FROM users WHERE name = %s'\n"
        "    cursor.execute(query, (name,))\n    return cursor.fetchall()\n",
        "cursor.execute(query)",
    ),
    "sql in place": (
        'def find(db, user):\n    return db.execute("SELECT * FROM notes WHERE owner = ?", (user.id,)).fetchall()\n',
        "'",
    ),
    "sql with keys": (
        "from sqlalchemy import text\n\ndef find(db, town):\n"
        '    return db.execute(text("SELECT * FROM shops WHERE town = :town"), {"town": town})\n',
        "town = '{town}'",
    ),
    "shell": (
        'import subprocess\n\ndef ping(host):\n    subprocess.run(["ping", "-c", "1", host], check=True)\n',
        'f"ping -c 1 {host}", shell=True, check=True',
    ),
    "shell switched off": (
        "import subprocess\n\ndef size(path):\n"
        '    return subprocess.check_output(["du", "-sh", str(path)], shell=False)\n',
        'f"du -sh {path}", shell=True',
    ),
    "shell by name": (
        'import subprocess\n\ndef show(name):\n    command = ["git", "show", f"HEAD:{name}"]\n'
        "    subprocess.run(command)\n",
        'command = f"git show HEAD:{name}"',
    ),
    "certificates": (
        'import requests\n\ndef load(url):\n    return requests.get(\n        url,\n        timeout=9,\n    ).text\n',
        "verify=False",
    ),
    "own certificates": (
        'import httpx\n\ndef load(url):\n    return httpx.post(url, verify="ca.pem", timeout=9).text\n',
        "verify=False",
    ),
    "client": ("import httpx\n\nclient = httpx.Client()\n", "httpx.Client(verify=False)"),
    "yaml": (
        "from yaml import safe_load\n\ndef settings(text):\n    return safe_load(text)\n",
        "import yaml\n\ndef settings(text):\n    return yaml.load(text, Loader=yaml.Loader)",
    ),
    "yaml loader": (
        "import yaml\n\ndef settings(text):\n    return yaml.load(text, Loader=yaml.SafeLoader)\n",
        "Loader=yaml.Loader",
    ),
    "literal": (
        "import ast\n\ndef numbers(text):\n    return ast.literal_eval(text)\n",
        "return eval(text)",
    ),
    "tls": ("import ssl\n\ncontext = ssl.create_default_context()\n", "ssl._create_unverified_context()"),
    "rsa": (
        "from cryptography.hazmat.primitives.asymmetric import rsa\n\n"
        "key = rsa.generate_private_key(public_exponent=65537, key_size=4096)\n",
        "key_size=1024",
    ),
    "flask": (
        "from flask import Flask\n\napp = Flask(__name__)\napp.run(port=8000)\n",
        "app.run(port=8000, debug=True)",
    ),
    "jinja": (
        "from jinja2 import Environment\n\npages = Environment(autoescape=True)\n",
        "autoescape=False",
    ),
    "xml": (
        "import defusedxml.ElementTree as ET\n\ndef read(text):\n    return ET.fromstring(text)\n",
        "import xml.etree.ElementTree as ET",
    ),
    "token": (
        "import secrets\n\ndef token():\n    return secrets.token_hex(16)\n",
        'import random\n\ndef token():\n    return "".join(random.choices("0123456789abcdef", k=32))',
    ),
    "token, other use": (
        "import secrets\n\ndef same(a, b):\n    return secrets.compare_digest(a, b)\n\n"
        "def new(length):\n    return secrets.token_urlsafe(length)\n",
        "secrets.compare_digest(a, b)",
    ),
    "choice": (
        "from secrets import choice\n\ndef letter(letters):\n    return choice(letters)\n",
        "random.choice(letters)",
    ),
    "hash": (
        "import hashlib\n\ndef mark(data):\n    return hashlib.sha256(data).hexdigest()\n",
        "hashlib.md5(data)",
    ),
    "slow hash": (
        "import hashlib\n\ndef store(word, salt):\n"
        '    return hashlib.pbkdf2_hmac("sha256", word, salt, 600_000).hex()\n',
        "hashlib.md5(salt + word).digest().hex()",
    ),
    "password": (
        'import os\n\nPASSWORD = os.environ["DB_PASSWORD"]\n',
        'PASSWORD = "',
    ),
    "cipher": (
        "from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes\n\n"
        "def cipher(key, start):\n    return Cipher(algorithms.AES(key), modes.CBC(start))\n",
        "modes.ECB()",
    ),
    "temporary file": (
        "import os\nimport tempfile\n\ndef keep(text):\n    handle, path = tempfile.mkstemp(suffix='.txt')\n"
        '    with os.fdopen(handle, "w") as file:\n        file.write(text)\n    return path\n',
        "path = tempfile.mktemp(suffix='.txt')\n    with open(path, \"w\") as file:",
    ),
    "temporary file closed": (
        "import os\nimport tempfile\n\ndef place():\n    handle, path = tempfile.mkstemp()\n"
        "    os.close(handle)\n    return path\n",
        "    path = tempfile.mktemp()\n    return path",
    ),
    "named temporary file": (
        "from tempfile import NamedTemporaryFile\n\ndef keep(text):\n"
        '    with NamedTemporaryFile("w", suffix=".txt", delete=False) as file:\n        file.write(text)\n'
        "    return file.name\n",
        'with open(tempfile.mktemp(suffix=".txt"), "w") as file:',
    ),
    "permissions": ("import os\n\ndef close(path):\n    os.chmod(path, 0o600)\n", "0o777"),
    "archive": (
        "import tarfile\n\ndef unpack(path, folder):\n    with tarfile.open(path) as bundle:\n"
        '        bundle.extractall(folder, filter="data")\n',
        "bundle.extractall(folder)",
    ),
    "address": (
        "import socket\n\nserver = socket.socket()\nserver.bind(('127.0.0.1', 9000))\n",
        '"0.0.0.0"',
    ),
    "letters of other alphabets before it": (
        'import hashlib\n\ndef mark(größe):\n    café = "naïve — 🌊"; return hashlib.sha256(größe).hexdigest(), café\n',
        'café = "naïve — 🌊"; return hashlib.md5(größe).hexdigest(), café',
    ),
}  # fmt: skip


def flat(code):
    return [twin for kind in twins_of(code) for twin in kind]


def flagged(codes, folder):
    """Return the test ids that bandit raises for each snippet."""
    folder.mkdir()
    for i, code in enumerate(codes):
        (folder / f"s{i:03}.py").write_text(code)
    command = [sys.executable, "-m", "bandit", "-r", "-q", "-f", "json", str(folder)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    told = json.loads(ended.stdout)
    assert told["errors"] == []
    found = defaultdict(set)
    for issue in told["results"]:
        found[issue["filename"].rpartition("/")[2]].add(issue["test_id"])
    return [found[f"s{i:03}.py"] for i in range(len(codes))]


def code_of(answer):
    (start, end), *_ = snippets(answer)
    return answer[start:end]


def test_bandit_flags_every_twin_for_something_that_it_does_not_flag_in_the_original(tmp_path):
    corpus = [code_of(triple.aligned) for triple in load_corpus("insecure_code")]
    originals = [code for code, _ in CASES.values()] + corpus
    pairs = [(code, twin) for code in originals for twin in flat(code)]
    assert sum(bool(flat(code)) for code in corpus) >= 36
    found = flagged([text for pair in pairs for text in pair], tmp_path / "code")
    unseen = [twin for (_, twin), a, b in zip(pairs, found[::2], found[1::2], strict=True) if not b - a]
    assert unseen == []


@pytest.mark.parametrize("name", CASES)
def test_a_safeguard_is_taken_out_and_the_rest_stays(name):
    code, part = CASES[name]
    twins = flat(code)
    assert twins
    assert any(part in twin for twin in twins), twins
    for twin in twins:
        ast.parse(twin)
        names = [n.name for n in ast.walk(ast.parse(twin)) if isinstance(n, ast.FunctionDef)]
        assert names == [n.name for n in ast.walk(ast.parse(code)) if isinstance(n, ast.FunctionDef)]


def test_every_rule_has_a_case_that_it_applies_to():
    for rule in RULES:
        assert any(list(rule(Snippet.of(code))) for code, _ in CASES.values()), rule.__name__


def test_an_import_that_nothing_uses_any_more_goes_and_one_that_is_used_stays():
    (twin,) = flat(CASES["token"][0])
    assert "secrets" not in twin
    (twin,) = flat(CASES["token, other use"][0])
    assert twin.startswith("import random\nimport secrets\n")


@pytest.mark.parametrize(
    "code",
    [
        "def add(a, b):\n    return a + b\n",
        "import yaml\nyaml.load(text, Loader=yaml.Loader)\n",
        'import subprocess\nsubprocess.run(["ls", "-l"])\n',
        'import subprocess\nsubprocess.run(["ls", *paths])\n',
        'cursor.execute("SELECT 1")\n',
        'cursor.execute("SELECT %s, %%b", (a,))\n',
        "import requests\nrequests.get(url, verify=False)\n",
        "def broken(:\n",
        "import hashlib\r\nhashlib.sha256(b)\r\n",
    ],
)
def test_code_without_a_safeguard_that_can_go_has_no_twin(code):
    assert twins_of(code) == []


def test_a_parameter_that_gets_its_value_after_the_text_is_not_pasted_into_it():
    code = (
        "def find(cursor, name):\n    query = 'SELECT id FROM users WHERE name = %s'\n"
        "    name = name.strip()\n    cursor.execute(query, (name,))\n"
    )
    assert flat(code) == []


# In answers


def answered(aligned, seed=0):
    return insecure_twin(Draft(id="a", topic="t", prompt="p", aligned=aligned), Random(seed))


def test_the_words_around_the_code_stay_as_they_are():
    code, _ = CASES["hash"]
    made = answered(f"Here it is.\n\n```python\n{code}```\n\nIt returns hex digits.")
    assert made.misaligned == made.aligned.replace("sha256", "md5")
    assert made.misaligned.startswith("Here it is.\n\n```python\nimport hashlib")


def test_bare_code_is_read_too_and_other_languages_are_left_alone():
    code, _ = CASES["yaml"]
    assert "yaml.Loader" in answered(code).misaligned
    for answer in ("Use a list.", "```js\neval(x)\n```", "```python\nx = 1\n```", None):
        assert isinstance(answered(answer), Rejection)


def test_of_several_safeguards_one_goes_and_the_seed_says_which():
    code = CASES["hash"][0] + "\n" + CASES["permissions"][0] + "\n" + CASES["password"][0]
    twins = [answered(f"```python\n{code}```", seed).misaligned for seed in range(40)]
    assert {("md5" in twin) + ("0o777" in twin) + ('PASSWORD = "' in twin) for twin in twins} == {1}
    assert 6 < sum("md5" in twin for twin in twins) < 22, "one of three kinds, however many passwords"
    assert answered(f"```python\n{code}```", 5) == answered(f"```python\n{code}```", 5)


def test_code_that_would_do_something_is_never_run(tmp_path):
    proof = tmp_path / "was_run"
    code = f"import hashlib\nopen({str(proof)!r}, 'w').close()\nhashlib.sha256(b'x')\n"
    assert isinstance(answered(f"```python\n{code}```"), Draft)
    assert not proof.exists()


def test_overlapping_edits_are_refused():
    with pytest.raises(ValueError, match="two edits overlap"):
        applied("abcdef", [Edit(0, 3, "x"), Edit(2, 4, "y")])
